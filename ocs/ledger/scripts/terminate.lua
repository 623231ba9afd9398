-- Terminate an account: its credit and units expire, its number is free again (HOT-ACC-6).
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 pool
-- ARGV  1 account id  2 msgpack map: asked_at, reason, reference (of the
--         pay-out of refundable credit, or false), shares (see pay_last_shares), now, month, day, max_skew_s, pool
-- Result  {"ok", MSISDN, IMSI, micro-EUR of the shares that stay unpaid}, {"again", …} (it is terminated already),
--         {"unknown", "", "", 0}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), nil, true)
if not work then return {why, '', '', 0} end
local account = work.account
if account.state == 't' then return {'again', account.msisdn, account.imsi, 0} end
local unpaid = terminate(work, args.asked_at, args.reason, args.reference, args.shares)
end_work(work)
return {'ok', account.msisdn, account.imsi, unpaid}
