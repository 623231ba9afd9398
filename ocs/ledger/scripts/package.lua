-- Activate a package now: debit its price, replace the buckets (HOT-PKG-2), once per reference.
--
-- KEYS  1 account  2 references of the partition  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack {package terms, reference, now, month, asked at}
-- Result  "ok", "again", "credit" (too little, nothing was changed), "state" (not active), "unknown"

local id, q = ARGV[1], unpack_doc(ARGV[2])
local terms, reference, now, month, asked_at = unpack(q, 1, 5)
if redis.call('HEXISTS', KEYS[2], 'package:' .. id .. ' ' .. reference) == 1 then return 'again' end
local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local acc = load(document)
if state_at(acc, now) ~= 'a' then return 'state' end
if acc.cr - acc.hc < terms[2] then return 'credit' end

local events = {}
roll_month(acc, month)
start_period(acc, terms, now, now, id, events)
plan_anew(acc, KEYS[5], id)
redis.call('SET', KEYS[1], save(acc))
redis.call('HSET', KEYS[2], 'package:' .. id .. ' ' .. reference, id)
journal_all(KEYS[4], KEYS[3], events)
notify('reauthorize', 'package', asked_at, id, acc, any_session)
return 'ok'
