-- Give one session up before its deadline: its client does not know it any more.
--
-- KEYS  1 account  2 outbox  3 outbox sequence  4 due set
-- ARGV  1 account id  2 msgpack {session id, reason, now, month}
-- Result  "ok", "again" (it is not open), "unknown"

local id, q = ARGV[1], unpack_doc(ARGV[2])
local sid, reason, now, month = unpack(q, 1, 4)
local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local acc = load(document)
local session = acc.s[sid]
if not session or session.z == 1 then return 'again' end

local events = {}
roll_month(acc, month)
give_up(acc, sid, session, reason, now, id, events)
plan_anew(acc, KEYS[4], id)
if acc.pp == 1 then plan_now(acc, KEYS[4], id, now) end
redis.call('SET', KEYS[1], save(acc))
journal_all(KEYS[3], KEYS[2], events)
return 'ok'
