-- Give one session up before its deadline: its client does not know it any more.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: session_id, reason, now, month, day, max_skew_s, pool
-- Result  "ok", "again" (it is not open), "unknown", …

local id, q = ARGV[1], unpack_value(ARGV[2])
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return why end
local account = w.account
local session = account.sessions[q.session_id]
if not session or session.given_up == 1 then return 'again' end
give_up(w, q.session_id, session, q.reason)
end_work(w)
return 'ok'
