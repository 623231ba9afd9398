-- Credit an account once per reference (HOT-TOP-1, HOT-ACC-7); the active period starts anew (HOT-ACC-3) and a package that
-- could not be paid is renewed if the credit now covers it (HOT-PKG-2).
--
-- KEYS  1 account  2 references of the partition  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack {amount, reference, now, month, active until, ceiling, {package id → package terms}, asked at}
-- Result  "ok", "again" (this reference was applied before), "ceiling", "state" (terminated), "unknown"

local id, q = ARGV[1], unpack_doc(ARGV[2])
local amount, reference, now, month, active_until, ceiling, packages, asked_at = unpack(q, 1, 8)
if redis.call('HEXISTS', KEYS[2], 'top_up:' .. reference) == 1 then return 'again' end
local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local acc = load(document)
if acc.st == 't' then return 'state' end
if acc.cr + amount > ceiling then return 'ceiling' end

local events = {}
roll_month(acc, month)
acc.cr, acc.pi, acc.au = acc.cr + amount, acc.pi + amount, max(acc.au, active_until)
events[1] = {'topup', now, id, amount, reference, acc.cr}
local terms = packages[acc.pk]
if acc.pp == 1 and terms and acc.cr - acc.hc >= terms[2] then start_period(acc, terms, now, now, id, events) end
plan_earlier(acc, KEYS[5], id)
redis.call('SET', KEYS[1], save(acc))
redis.call('HSET', KEYS[2], 'top_up:' .. reference, id)
journal_all(KEYS[4], KEYS[3], events)
notify('reauthorize', 'topup', asked_at, id, acc, starving)
return 'ok'
