-- Look at one account whose time has come: close sessions past their deadline, renew or end the package whose period is over, renew one that
-- could not be paid when its time came and now can (HOT-PKG-2), and plan the next look.
--
-- KEYS  1 account  2 outbox  3 outbox sequence  4 due set
-- ARGV  1 account id  2 msgpack {now, month, {package id → package terms}}
-- Result  "ok", "unknown"

local id, q = ARGV[1], unpack_doc(ARGV[2])
local now, month, packages = unpack(q, 1, 3)
local document = redis.call('GET', KEYS[1])
if not document then
  redis.call('ZREM', KEYS[4], id)
  return 'unknown'
end
local acc = load(document)
local events, renewed = {}, false
roll_month(acc, month)
expire_sessions(acc, now, id, nil, events)
local terms = packages[acc.pk]
if acc.pe > 0 and now >= acc.pe then
  if terms and state_at(acc, now) == 'a' then
    -- The new period follows the old one without a gap, unless the system slept through a whole period.
    local starts = acc.pe
    if now >= starts + terms[3] then starts = now end
    renewed = start_period(acc, terms, starts, now, id, events)
  else
    drop_buckets(acc, now)
    acc.pp, acc.pe = 1, 0
    events[#events + 1] = {'package', now, id, acc.pk, 0, 0, false, 0, acc.cr}
  end
elseif acc.pp == 1 and terms and state_at(acc, now) == 'a' and acc.cr - acc.hc >= terms[2] then
  renewed = start_period(acc, terms, now, now, id, events)
end
plan_anew(acc, KEYS[4], id)
redis.call('SET', KEYS[1], save(acc))
journal_all(KEYS[3], KEYS[2], events)
if renewed then notify('reauthorize', 'package', now, id, acc, starving) end
return 'ok'
