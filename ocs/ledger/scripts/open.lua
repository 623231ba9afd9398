-- Open an account, active at once; its opening credit is its first top-up and pays for its package (HOT-PKG-2).
--
-- KEYS  1 account  2 subscribers of the partition  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack {msisdn, imsi, credit, package terms or false, now, month, limit or -1, active until, ceiling}
-- Result  "ok" (also when this very account was opened before), or "exists" (another account has the MSISDN), "ceiling" (HOT-ACC-7)

local id, q = ARGV[1], unpack_doc(ARGV[2])
local msisdn, imsi, credit, package, now, month, limit, active_until, ceiling = unpack(q, 1, 9)
local holder = redis.call('HGET', KEYS[2], 'm' .. msisdn)
if holder and holder ~= id then return 'exists' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'ok' end
if credit > ceiling then return 'ceiling' end

local acc = {m = msisdn, i = imsi, st = 'a', au = active_until, cr = credit, hc = 0, pi = credit, sp = 0, rf = 0, ex = 0,
  lim = limit, mo = month, ms = 0, nt = 0, br = '', pk = '', pp = 0, pe = 0, b = {}, s = {}, du = 0}
local events = {{'opened', now, id, credit, credit, package and package[1] or ''}}
if package then start_period(acc, package, now, now, id, events) end
plan_earlier(acc, KEYS[5], id)
redis.call('SET', KEYS[1], save(acc))
redis.call('HSET', KEYS[2], 'm' .. msisdn, id)
journal_all(KEYS[4], KEYS[3], events)
return 'ok'
