-- Open an account. It is active at once; the opening credit is its first top-up and pays for its package (HOT-PKG-2).
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 any
-- ARGV  1 account id  2 msgpack map: msisdn, imsi, credit, package (`terms`, or false), counters (`counter_terms`),
--         own_limit (the first counter's is not the default),
--         customer (packed, or ""),
--         unused, now, month, day, max_skew_s, life
-- Result  "ok" (also if this account exists already), "exists" (another account has the MSISDN), "ceiling"
--         (HOT-ACC-7)

local id, args = ARGV[1], unpack_value(ARGV[2])
local why = clock_error(args.now, args.max_skew_s)
if why then return why end
local holder = redis.call('HGET', KEYS[5], 'm' .. args.msisdn)
if holder and holder ~= id then return 'exists' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'ok' end
if args.credit > CEILING then return 'ceiling' end

local account = new_account()
account.version = VERSION
account.readable_from = READABLE_FROM
account.msisdn = args.msisdn
account.imsi = args.imsi
account.customer = args.customer
account.credit, account.paid_in = args.credit, args.credit
local life = args.life
if args.unused then
  account.state, account.active_until = 'n', UNUSED_UNTIL
else
  account.state, account.active_until = 'a', args.now + life.active_s
end
local work = {account_id = id, now = args.now, month = args.month, day = args.day, account = account, pool = false,
  events = {}, keys = named_keys(KEYS), by = args.by ~= '' and args.by or nil, facts_before = '', life = life}
for n = 1, #args.counters do
  local counter_terms = args.counters[n]
  add_counter(work, counter_terms, window_key_now(work, counter_terms.window))
end
local terms = args.package
journal(work, {k = 'opened', credit_in = args.credit, credit = args.credit, package = terms and terms.id or '',
  unused = args.unused})
if args.own_limit then
  local counter = account.counters[1]
  journal(work, {k = 'limit', counter = counter.id, limit = counter.limit, once = false})
  journal_thresholds(work)
end
if terms then
  account.last_instance = account.last_instance + 1
  local subscription = new_subscription()
  subscription.instance = account.last_instance
  subscription.terms = terms
  -- Of an account not used yet it waits for the first use (first_use.lua).
  subscription.state = args.unused and 'unpaid' or 'planned'
  subscription.starts = 0
  subscription.due = args.now
  table.insert(subscriptions_of(work), subscription)
end
end_work(work)
redis.call('HSET', KEYS[5], 'm' .. args.msisdn, id)
return 'ok'
