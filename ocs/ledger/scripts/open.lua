-- Open an account, active at once; its opening credit is its first top-up and pays for its package (HOT-PKG-2).
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 any
-- ARGV  1 account id  2 msgpack map: msisdn, imsi, credit, package (`terms`, or false), counters (`counter_terms`), active_until, now, month, day,
--         max_skew_s
-- Result  "ok" (also when this very account was opened before), or "exists" (another account has the MSISDN), "ceiling" (HOT-ACC-7)

local id, q = ARGV[1], unpack_value(ARGV[2])
local why = wrong_clock(q.now, q.max_skew_s)
if why then return why end
local holder = redis.call('HGET', KEYS[5], 'm' .. q.msisdn)
if holder and holder ~= id then return 'exists' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'ok' end
if q.credit > CEILING then return 'ceiling' end

local account = new_account()
account.version, account.readable_from, account.msisdn, account.imsi, account.state = VERSION, READABLE_FROM, q.msisdn, q.imsi, 'a'
account.active_until, account.credit, account.paid_in = q.active_until, q.credit, q.credit
local w = {id = id, now = q.now, month = q.month, day = q.day, account = account, pool = false, events = {}, keys = named_keys(KEYS)}
for n = 1, #q.counters do
  local counter_terms = q.counters[n]
  add_counter(w, counter_terms, window_key_now(w, counter_terms.window))
end
local terms = q.package
journal(w, {k = 'opened', credit_in = q.credit, credit = q.credit, package = terms and terms.id or ''})
if terms then
  account.last_instance = account.last_instance + 1
  local subscription = new_subscription()
  subscription.instance, subscription.terms, subscription.state, subscription.starts = account.last_instance, terms, 'planned', 0
  subscription.due = q.now
  table.insert(subscriptions_of(w), subscription)
end
end_work(w)
redis.call('HSET', KEYS[5], 'm' .. q.msisdn, id)
return 'ok'
