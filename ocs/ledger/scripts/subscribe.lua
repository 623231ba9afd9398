-- Buy a product once per reference: now (its fee is paid, or nothing is done), at a time, or armed for its first use
-- (HOT-PKG-2, -7 to -13); end a subscription; set the product that follows it.
--
-- KEYS  as top_up.lua
-- ARGV  1 account id  2 msgpack map: what ("buy", "end", "next"), terms, reference, starts, armed, any_state (a fee is
--         paid in any state), block and lift (reasons, with a fee; "" = none), separate (1 = the separate account pays), instance, at_once,
--         shares (see pay_shares), keep_s, asked_at, now, month, day, max_skew_s, pool, look
-- Result  "ok", "again", "credit" (too little, nothing was changed), "limit" (the monthly limit leaves no room for a
--         price that counts), "excluded", "barred", "requires", "tariff" (conditions of the terms), "subscriptions" (too many),
--         "state" (not active), "instance" (no such subscription), "unknown", …; with `look` "ok" and "again" come with
--         the document: {word, document}

local id, args = ARGV[1], unpack_value(ARGV[2])
local field = args.what == 'buy' and 'package:' .. args.uid .. ' ' .. args.reference
if field then
  for n = 5, #KEYS do
    if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return with_document('again', args, KEYS[1]) end
  end
end
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return why end
local account = work.account
local list = subscriptions_of(work)

-- Two products exclude each other if either says so (HOT-PKG-9).
local function excluded(terms)
  local excludes, id = terms.excludes, terms.id
  for n = 1, #list do
    local subscription = list[n]
    local terms = subscription.terms
    if index_of(excludes, terms.id) or index_of(terms.excludes, id) then return true end
  end
  return false
end

local function has_separate_account()
  local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()
  return customer.separate == 1
end

local function buy()
  local terms = args.terms
  if args.separate == 1 and not has_separate_account() then return 'no_separate' end
  local is_fee = terms.period_s == 0 and not args.armed and args.starts <= args.now
  if state_at(account, work.now) ~= 'a' and not (args.any_state and is_fee) then return 'state' end
  if #list >= MAX_SUBSCRIPTIONS then return 'subscriptions' end
  local unmet = excluded(terms) and 'excluded' or unmet_condition(work, 0, terms, work.now)
  if unmet then return unmet end
  local subscription = new_subscription()
  subscription.terms, subscription.reference, subscription.separate = terms, args.reference, args.separate
  subscription.instance = account.last_instance + 1
  if args.armed then
    subscription.state = 'armed'
  elseif args.starts > args.now then
    subscription.state, subscription.due = 'planned', args.starts
  elseif purse_of(account, subscription) < terms.price then
    return 'credit'
  elseif not limit_allows(work, subscription, terms) then
    return 'limit'
  end
  account.last_instance = subscription.instance
  table.insert(list, subscription)
  if subscription.state == '' then
    pay_fee(work, subscription, work.now)
    if args.block ~= '' then set_block(work, args.block, true) end
    if args.lift ~= '' then set_block(work, args.lift, false) end
  else
    subscription_event(work, subscription, subscription.state)
  end
  redis.call('HSET', KEYS[5], field, args.uid)
  redis.call('EXPIRE', KEYS[5], args.keep_s)
  return 'ok'
end

local function change(subscription, place)
  if args.what == 'next' then
    subscription.following = args.terms
    return 'ok'
  end
  if not pay_shares(work, subscription, args.shares) then return 'credit' end
  if args.at_once or (subscription.state ~= 'active' and subscription.state ~= 'ending') then
    end_buckets(work, subscription)
    table.remove(list, place)
    subscription_event(work, subscription, 'ended')
  elseif subscription.state == 'active' then
    subscription.state = 'ending'
    subscription_event(work, subscription, 'ending')
  end
  return 'ok'
end

local word = 'instance'
if args.what == 'buy' then
  word = buy()
else
  for n = #list, 1, -1 do
    local subscription = list[n]
    if subscription.instance == args.instance then word = change(subscription, n) end
  end
end
if word ~= 'ok' then return word end
end_work(work)
if args.what == 'buy' and args.block ~= '' then
  notify(work, 'abort', 'state', args.asked_at, any_session)
else
  notify(work, 'reauthorize', 'package', args.asked_at, any_session)
end
return with_document('ok', args, KEYS[1])
