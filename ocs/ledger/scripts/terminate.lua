-- End an account for ever: its credit and units are lost, its number is free again (HOT-ACC-6).
--
-- KEYS  1 account  2 subscribers of the partition  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack {now, month, asked at}
-- Result  {"ok", IMSI}, {"again", IMSI} (it had ended), {"unknown", ""}

local id, q = ARGV[1], unpack_doc(ARGV[2])
local now, month, asked_at = unpack(q, 1, 3)
local document = redis.call('GET', KEYS[1])
if not document then return {'unknown', ''} end
local acc = load(document)
if acc.st == 't' then return {'again', acc.i} end

local events, lost = {}, acc.cr
roll_month(acc, month)
notify('abort', 'state', asked_at, id, acc, any_session)
local ids = {}
for sid in pairs(acc.s) do ids[#ids + 1] = sid end
table.sort(ids)
for n = 1, #ids do
  local session = acc.s[ids[n]] -- it may have been dropped as one too many
  if session and session.z == 0 then give_up(acc, ids[n], session, 'terminated', now, id, events) end
end
acc.st, acc.cr, acc.ex, acc.b, acc.pe, acc.pp, acc.s = 't', 0, acc.ex + lost, {}, 0, 0, {}
events[#events + 1] = {'terminated', now, id, lost, 0}
plan_anew(acc, KEYS[5], id)
redis.call('SET', KEYS[1], save(acc))
redis.call('HDEL', KEYS[2], 'm' .. acc.m)
journal_all(KEYS[4], KEYS[3], events)
return {'ok', acc.i}
