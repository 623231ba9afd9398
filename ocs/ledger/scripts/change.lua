-- Change one setting of an account: a counter's limit (HOT-CC-1, HOT-ROA-5), the bars (HOT-CC-5), a measure
-- (HOT-ROA-8), the state (HOT-ACC-11), a reminder on its agenda, or what is known of the customer.
--
-- KEYS  1 to 4 as charge.lua  5 observation (of "fair_use"), else any  6 pool
-- ARGV  1 account id  2 msgpack map: what ("limit", "bars", "measure", "lift", "state", "remind", "fair_use", "customer"), value
--         (limit or -1; bars with commas; a `measure`, or false; "a" or "b"; Unix time), counter, terms (of the counter,
--         or false), once (0 or 1), kind, ref, before, state, state_day, facts, reason, asked_at, now, month, day,
--         max_skew_s, pool
-- Result  "ok", "again" (there is no such measure; another state), "state" (terminated), "counter" (the account does
--         not have it), "measures" (too many), "unknown", …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return why end
local account = work.account

local function remind()
  local agenda = account.agenda
  for n = #agenda, 1, -1 do
    local entry = agenda[n]
    if entry.kind == args.kind and entry.ref == args.ref then table.remove(agenda, n) end
  end
  if args.value > 0 then
    local entry = new_entry()
    entry.at, entry.kind, entry.ref = args.value, args.kind, args.ref
    if agenda == '' then
      agenda = {}
      account.agenda = agenda
    end
    agenda[#agenda + 1] = entry
  end
end

-- Thresholds are notified again after a change, those that are passed already at once (HOT-CC-4). `once`: the limit before comes back with the next window.
local function set_limit()
  local counter = find_counter(account, args.counter)
  if not counter and args.terms then
    local counter_terms = args.terms
    counter = add_counter(work, counter_terms, window_key_now(work, counter_terms.window))
  end
  if not counter then return 'counter' end
  if args.once == 0 or counter.window == 'rolling' then
    counter.lasting = NOT_ONCE
  elseif counter.lasting == NOT_ONCE then
    counter.lasting = counter.limit
  end
  counter.limit, counter.told = args.value, 0
  journal(work, {k = 'limit', counter = args.counter, limit = args.value, once = counter.lasting ~= NOT_ONCE})
  journal_thresholds(work)
end

local function set_measure()
  local measure, measures, before = args.value, measures_of(work), false
  local next_measure, position = find_measure(work, measure.kind, measure.name)
  if not position and #measures >= MAX_MEASURES then return 'measures' end
  if next_measure then before = next_measure.begun == 1 end
  measure.begun = measure.since <= work.now and 1 or 0
  measures[position or #measures + 1] = measure
  journal_measure(work, measure, measure.begun == 1 and 'begun' or 'planned')
  measure_changed(work, measure, before)
end

local function lift_measure()
  local measure, position = find_measure(work, args.kind, args.ref)
  if not position then return 'again' end
  local before = measure.begun == 1
  table.remove(measures_of(work), position)
  journal_measure(work, measure, 'lifted')
  measure.begun = 0
  measure_changed(work, measure, before)
end

-- A step of the fair-use observation (HOT-ROA-4), whose state is in the hash KEYS[5]: state, event and measure together.
local function step_fair_use()
  local before = redis.call('HGET', KEYS[5], 'state') or ''
  if before ~= args.before or redis.call('EXISTS', KEYS[5]) == 0 then return 'again' end
  if args.value and args.state == 'surcharge' then
    local refusal = set_measure()
    if refusal then return refusal end
  elseif args.value and before == 'surcharge' then
    local measure = find_measure(work, args.kind, args.ref)
    if measure and measure.reason == args.reason then lift_measure() end
  end
  local event = args.facts
  event.k, event.state = 'fair_use', args.state
  journal(work, event)
  redis.call('HSET', KEYS[5], 'state', args.state, 'at', string.format('%.0f', args.state_day))
  local head = key_prefix(work) .. 'f:'
  if before ~= '' then redis.call('SREM', head .. before, id) end
  if args.state ~= '' then redis.call('SADD', head .. args.state, id) end
end

-- `kind`: a field of the `customer` record.
local function set_customer()
  local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()
  customer.language = args.value
  account.customer = pack(customer)
  journal(work, {k = 'customer', name = args.kind, value = args.value})
end

local refused
if args.what == 'limit' then
  refused = set_limit()
elseif args.what == 'measure' then
  refused = set_measure()
elseif args.what == 'lift' then
  refused = lift_measure()
elseif args.what == 'fair_use' then
  refused = step_fair_use()
elseif args.what == 'customer' then
  set_customer()
elseif args.what == 'bars' then
  account.bars = args.value
  journal(work, {k = 'bars', bars = args.value})
elseif args.what == 'state' then
  set_block(work, args.reason, args.value == 'b')
else
  remind()
end
if refused then return refused end
end_work(work)
if args.what == 'state' and args.value == 'b' then
  notify(work, 'abort', args.what, args.asked_at, any_session)
elseif args.what == 'limit' or args.what == 'bars' or args.what == 'state' then
  notify(work, 'reauthorize', args.what, args.asked_at, any_session)
end
return 'ok'
