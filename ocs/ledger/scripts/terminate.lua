-- Terminate an account: its credit and units expire, its number is free again (HOT-ACC-6).
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 pool
-- ARGV  1 account id  2 msgpack map: asked_at, reason, reference (of the
--         pay-out of refundable credit, or false), now, month, day, max_skew_s, pool
-- Result  {"ok", MSISDN, IMSI}, {"again", …} (it is terminated already), {"unknown", "", ""}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), nil, true)
if not work then return {why, '', ''} end
local account = work.account
if account.state == 't' then return {'again', account.msisdn, account.imsi} end
terminate(work, args.asked_at, args.reason, args.reference)
end_work(work)
return {'ok', account.msisdn, account.imsi}
