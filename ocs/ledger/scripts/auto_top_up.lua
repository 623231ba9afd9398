-- Orders for money of an account: switch its automatic top-up on or off (HOT-TOP-4), order one (at most `most` in
-- `window_s`, HOT-TOP-5), order a one-off payment, note a failure, take a returned payment back.
--
-- KEYS  1 to 4 as charge.lua  5 orders of the account  6 pool  7 work list of automatic top-ups  8 orders with something
--       to do  9 references of this month  10 … references of the months before
-- ARGV  1 account id  2 msgpack map: what ("set", "order", "one_off", "failed", "returned"), below, order (an `order`),
--         most, window_s, later_s (until it is looked at again), order_id, release, final, amount, credited, reference,
--         block, uid, keep_s, asked_at, now, month, day, max_skew_s, pool, life
-- Result  {word, msgpack of an `order`, or ""}; of "returned": {"ok" | "again", micro-EUR taken back}.
--         Words: "ok"; "again" (done before); "open" (an automatic order is under way); "enough" (the credit is at the
--         mark); "off"; "limit" (HOT-TOP-5); "inactive"; "ceiling"; "orders" (too many are open); "state" (terminated)

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), nil, args.what == 'returned' or args.what == 'failed')
if not work then return {why, ''} end
local account = work.account
local OPEN = {ordered = true, submitted = true, succeeded = true}

local function auto_debits()
  return account.auto_debits == '' and {} or unpack_value(account.auto_debits)
end

local function keep_debits(list)
  account.auto_debits = #list > 0 and pack(list) or ''
end

local function earlier(order, other_order)
  if order.at ~= other_order.at then return order.at < other_order.at end
  return order.id < other_order.id
end

-- In the order in which they were made: Redis gives the values of a hash in any order.
local function orders_of_account()
  local list = {}
  for _, packed in ipairs(redis.call('HVALS', KEYS[5])) do list[#list + 1] = unpack_value(packed) end
  table.sort(list, earlier)
  return list
end

local function store_order(order)
  redis.call('HSET', KEYS[5], order.id, pack(order))
  redis.call('EXPIRE', KEYS[5], args.keep_s)
  if order.due > 0 then
    redis.call('ZADD', KEYS[8], order.due, order.id)
  else
    redis.call('ZREM', KEYS[8], order.id)
  end
end

local function tell_order(order)
  journal(work, {k = 'payment', order = order.id, state = order.state, channel = order.kind, amount = order.amount,
    reason = order.reason, payer = order.payer})
end

-- Orders that nobody has sent yet end with the automatic top-up, so that "off" is immediate (HOT-TOP-5).
local function cancel_unsent()
  local list = orders_of_account()
  for n = 1, #list do
    local order = list[n]
    if order.kind == 'auto' and order.state == 'ordered' and order.tries == 0 then
      order.state, order.reason, order.due, order.changed = 'failed', 'off', 0, work.now
      order.version = order.version + 1
      store_order(order)
      tell_order(order)
      local debits, kept = auto_debits(), {}
      for m = 1, #debits do
        local debit = debits[m]
        if debit.id ~= order.id then kept[#kept + 1] = debit end
      end
      keep_debits(kept)
    end
  end
end

local function set()
  if account.auto_below == args.below then return 'again' end
  account.auto_below, account.auto_failures = args.below, 0
  redis.call('ZREM', KEYS[7], id)
  account.auto_asked = 0
  journal(work, {k = 'auto_top_up', state = args.below > 0 and 'on' or 'off', credit = account.credit,
    below = args.below})
  if args.below == 0 then cancel_unsent() end
  return 'ok'
end

-- Sum of open orders, their number, the open automatic order, and the one with this reference.
local function open_orders()
  local sum, count, auto, same, list = 0, 0, nil, nil, orders_of_account()
  for n = 1, #list do
    local order = list[n]
    if OPEN[order.state] then
      sum, count = sum + order.amount, count + 1
      if order.kind == 'auto' then auto = order end
    end
    local other_order = args.order
    if order.reference ~= '' and order.reference == other_order.reference then same = order end
  end
  return sum, count, auto, same, list
end

local function make_room(list)
  if #list < MAX_ORDERS then return end
  local oldest
  for n = 1, #list do
    local order = list[n]
    if not OPEN[order.state] then
      local other_order = oldest
      if not oldest or order.changed < other_order.changed then oldest = order end
    end
  end
  local order = oldest
  redis.call('HDEL', KEYS[5], order.id)
end

local function add_order(list)
  local order = args.order
  make_room(list)
  order.at, order.changed, order.due, order.state, order.version = work.now, work.now, work.now, 'ordered', 1
  store_order(order)
  tell_order(order)
  return 'ok', pack(order)
end

-- The debits of the last `window_s`; older ones are forgotten.
local function recent_debits()
  local recent, list = {}, auto_debits()
  for n = 1, #list do
    local debit = list[n]
    if debit.at > work.now - args.window_s then recent[#recent + 1] = debit end
  end
  return recent
end

local function later(word, at)
  redis.call('ZADD', KEYS[7], at, id)
  return word, ''
end

local function order_automatic()
  if account.auto_below == 0 or account.credit >= account.auto_below then
    redis.call('ZREM', KEYS[7], id)
    return account.auto_below == 0 and 'off' or 'enough', ''
  end
  local sum, count, auto, _, list = open_orders()
  if auto then
    later('open', work.now + args.later_s)
    return 'open', pack(auto)
  end
  if state_at(account, work.now) ~= 'a' then return later('inactive', work.now + args.later_s) end
  local recent, order = recent_debits(), args.order
  if #recent >= args.most then
    local debit = recent[#recent - args.most + 1]
    return later('limit', debit.at + args.window_s)
  end
  if account.credit + sum + order.amount > CEILING then return later('ceiling', work.now + args.later_s) end
  if count >= MAX_OPEN_ORDERS then return later('orders', work.now + args.later_s) end
  local debit = new_auto_debit()
  debit.id, debit.at = order.id, work.now
  recent[#recent + 1] = debit
  keep_debits(recent)
  -- It stays on the list until the credit is at the mark.
  later('ok', work.now + args.later_s)
  return add_order(list)
end

local function order_one_off()
  local sum, count, _, same, list = open_orders()
  if same then return 'again', pack(same) end
  local order = args.order
  if work.now >= end_of_life(work) then return 'state', '' end
  if account.credit + sum + order.amount > CEILING then return 'ceiling', '' end
  if count >= MAX_OPEN_ORDERS then return 'orders', '' end
  return add_order(list)
end

-- A failure is counted once an order. It is tried again later, until `final`.
local function failed()
  local debits, kept, counted = auto_debits(), {}, false
  for n = 1, #debits do
    local debit = debits[n]
    if debit.id == args.order_id and debit.failed == 0 then
      counted, debit.failed = true, 1
      if args.release == 0 then kept[#kept + 1] = debit end
    else
      kept[#kept + 1] = debit
    end
  end
  if not counted then return 'again' end
  keep_debits(kept)
  account.auto_failures = account.auto_failures + 1
  if account.auto_asked == 0 or account.state == 't' then return 'ok' end
  if account.auto_failures >= args.final then
    redis.call('ZREM', KEYS[7], id)
    journal(work, {k = 'auto_top_up', state = 'given_up', credit = account.credit, below = account.auto_below})
  else
    redis.call('ZADD', KEYS[7], work.now + args.later_s * account.auto_failures, id)
  end
  return 'ok'
end

-- The payer's bank took the money back: so do we, as far as there is refundable credit; the rest is a debt. A payment
-- that was not credited yet never will be.
local function returned()
  local field, paid, was_credited = 'return:' .. args.order_id, 'top_up:' .. args.reference, args.credited == 1
  for n = 9, #KEYS do
    local done = redis.call('HGET', KEYS[n], field)
    if done then return 'again', tonumber(string.match(done, ' (%d+)$')) end
    was_credited = was_credited or redis.call('HEXISTS', KEYS[n], paid) == 1
  end
  local taken = 0
  if was_credited then
    taken = min(args.amount, account.credit - min(account.promotional, account.credit))
    account.credit, account.refunded = account.credit - taken, account.refunded + taken
  end
  local unpaid = was_credited and args.amount - taken or 0
  journal(work, {k = 'payment_returned', order = args.order_id, amount = args.amount, debit = taken,
    unpaid = some(unpaid), credit = account.credit, reason = args.reason})
  if account.auto_below > 0 then
    account.auto_below, account.auto_asked = 0, 0
    redis.call('ZREM', KEYS[7], id)
    journal(work, {k = 'auto_top_up', state = 'off', credit = account.credit, below = 0})
    cancel_unsent()
  end
  if was_credited and args.block ~= '' and account.state ~= 't' then set_block(work, args.block, true) end
  redis.call('HSET', KEYS[9], field, args.uid .. string.format(' %.0f', taken), paid, args.uid)
  redis.call('EXPIRE', KEYS[9], args.keep_s)
  return 'ok', taken
end

local word, more = nil, ''
if args.what == 'set' then
  word = set()
elseif args.what == 'order' then
  word, more = order_automatic()
elseif args.what == 'one_off' then
  word, more = order_one_off()
elseif args.what == 'failed' then
  word = failed()
else
  word, more = returned()
end
if word ~= 'ok' and word ~= 'enough' then return {word, more} end
end_work(work)
if args.what == 'returned' and account.state == 'b' then notify(work, 'abort', 'state', args.asked_at, any_session) end
return {word, more}
