-- End an account for ever: its credit and units are lost, its number is free again (HOT-ACC-6).
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 pool
-- ARGV  1 account id  2 msgpack map: asked_at, now, month, day, max_skew_s, pool
-- Result  {"ok", IMSI}, {"again", IMSI} (it had ended), {"unknown", ""}, …

local id, q = ARGV[1], unpack_value(ARGV[2])
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return {why, ''} end
local account = w.account
if account.state == 't' then return {'again', account.imsi} end
terminate(w, q.asked_at)
end_work(w)
return {'ok', account.imsi}
