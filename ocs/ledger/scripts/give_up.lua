-- Give one session up before its deadline, because its client has lost it.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: session_id, reason, now, month, day, max_skew_s, pool
-- Result  "ok", "again" (it is not open), "unknown", …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), args.session_id)
if not work then return why end
local account = work.account
local session = account.sessions[args.session_id]
if not session or session.given_up == 1 then return 'again' end
give_up(work, args.session_id, session, args.reason)
end_work(work)
return 'ok'
