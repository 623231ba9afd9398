-- Buy a product once per reference: now (its fee is paid or nothing is done), at a time, or armed for its first use (HOT-PKG-2, -7 to -13);
-- end a subscription; say what follows it.
--
-- KEYS  as top_up.lua
-- ARGV  1 account id  2 msgpack map: what ("buy", "end", "next"), terms, reference, starts, armed, instance, at_once, keep_s, asked_at, now, month,
--         day, max_skew_s, pool
-- Result  "ok", "again", "credit" (too little, nothing was changed), "excluded", "state" (not active), "instance" (no such subscription),
--         "unknown", …

local id, q = ARGV[1], unpack_value(ARGV[2])
local field = q.what == 'buy' and 'package:' .. q.uid .. ' ' .. q.reference
if field then
  for n = 5, #KEYS do
    if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return 'again' end
  end
end
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return why end
local account = w.account
local list = subscriptions_of(w)

local function excluded(excludes)
  for n = 1, #list do
    local subscription = list[n]
    local terms = subscription.terms
    if place_of(excludes, terms.id) then return true end
  end
  return false
end

local function buy()
  local terms = q.terms
  if state_at(account, w.now) ~= 'a' then return 'state' end
  if excluded(terms.excludes) then return 'excluded' end
  local subscription = new_subscription()
  subscription.terms, subscription.reference = terms, q.reference
  subscription.instance = account.last_instance + 1
  if q.armed then
    subscription.state = 'armed'
  elseif q.starts > q.now then
    subscription.state, subscription.due = 'planned', q.starts
  elseif account.credit < terms.price then
    return 'credit'
  end
  account.last_instance = subscription.instance
  table.insert(list, subscription)
  if subscription.state == '' then
    pay_fee(w, subscription, w.now)
  else
    subscription_event(w, subscription, subscription.state)
  end
  redis.call('HSET', KEYS[5], field, q.uid)
  redis.call('EXPIRE', KEYS[5], q.keep_s)
  return 'ok'
end

local function change(subscription, place)
  if q.what == 'next' then
    subscription.following = q.terms
  elseif q.at_once or (subscription.state ~= 'active' and subscription.state ~= 'ending') then
    end_buckets(w, subscription)
    table.remove(list, place)
    subscription_event(w, subscription, 'ended')
  elseif subscription.state == 'active' then
    subscription.state = 'ending'
    subscription_event(w, subscription, 'ending')
  end
  return 'ok'
end

local word = 'instance'
if q.what == 'buy' then
  word = buy()
else
  for n = #list, 1, -1 do
    local subscription = list[n]
    if subscription.instance == q.instance then word = change(subscription, n) end
  end
end
if word ~= 'ok' then return word end
end_work(w)
notify(w, 'reauthorize', 'package', q.asked_at, any_session)
return 'ok'
