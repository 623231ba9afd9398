-- Periods of subscriptions: fees, what begins, is renewed or ends, and when (docs/LEDGER.md, "Agenda").

local function money_free(account) return account.credit - account.held end

-- The credit does not cover the fee: the buckets end, and the subscription starts when the credit covers it.
local function set_unpaid(work, subscription, due)
  local terms, renewal = subscription.terms, is_running(subscription)
  end_buckets(work, subscription)
  subscription.state, subscription.due, subscription.starts, subscription.ends = 'unpaid', due, 0, 0
  work.due_changed = true
  package_event(work, subscription, terms.price, false, renewal)
end

-- Pay the fee and start the period. The fee is taken from the credit, whatever is held, or from the separate account; it
-- counts as spending only if the product says so (HOT-CC-2).
local function pay_fee(work, subscription, starts)
  local account, terms = work.account, subscription.terms
  local before, renewal = account.credit, is_running(subscription)
  local promotional = take_from_purse(work, subscription, terms.price)
  wake(work)
  account.spent = account.spent + terms.price
  begin_period(work, subscription, starts)
  create_buckets(work, subscription)
  begin_period_counters(work, terms, starts)
  package_event(work, subscription, terms.price, true, renewal, promotional)
  count_price(work, subscription)
  if terms.period_s == 0 then -- a fee: nothing stays (HOT-PKG-16)
    drop(work, subscription)
    note_low_credit(work, before)
  end
  work.period_began, work.due_changed = true, true
end

local function can_pay(work, subscription, terms)
  local account = work.account
  return state_at(account, work.now) == 'a' and purse_of(account, subscription) >= terms.price
    and limit_allows(work, subscription, terms)
end

-- Terms of a product at a time, by the version of the catalogue in force then (HOT-PKG-11); as bought if the partition
-- has none. "{tag}:terms" has a list of `dated_terms` for each product, in the order of time.
local function terms_at(work, bought, at)
  local terms = bought
  work.products = work.products or {}
  local id = terms.id
  if work.products[id] == nil then
    local packed = redis.call('HGET', key_prefix(work) .. 'terms', id)
    work.products[id] = packed and unpack_value(packed) or false
  end
  local list = work.products[id] or {}
  for n = 1, #list do
    local dated = list[n]
    if dated.since <= at then terms = dated.terms end
  end
  bring_up('terms', terms)
  return terms
end

-- Start the period that is due, by the terms in force when it starts, or end the subscription if something forbids it.
-- It follows the one before without a gap, unless a whole period was missed.
local function start_period(work, subscription, bought, due)
  local starts, terms = due, terms_at(work, bought, due)
  if subscription.state == 'unpaid' or work.now >= due + terms.period_s then
    starts, terms = work.now, terms_at(work, bought, work.now)
  end
  local why = forbids_period(work, subscription, terms, starts)
  if why then
    drop(work, subscription)
    return subscription_event(work, subscription, subscription.state == 'planned' and 'voided' or 'ended', why)
  end
  subscription.terms = terms
  if can_pay(work, subscription, terms) then
    pay_fee(work, subscription, starts)
  else
    set_unpaid(work, subscription, due)
  end
end

-- The product that was to follow is void if something forbids it at the end of the period.
local function void_following(work, subscription)
  if not subscription.following or subscription.state ~= 'active' then return end
  local at = subscription.ends
  local following = terms_at(work, subscription.following, at)
  local why = forbids_period(work, subscription, following, at, true)
  if not why then return end
  subscription.following = false
  journal(work, {k = 'subscription', id = following.id, instance = subscription.instance, state = 'voided', reason = why})
end

local function next_period(work, subscription)
  local terms = subscription.terms
  end_buckets(work, subscription)
  void_following(work, subscription)
  if is_last_period(subscription) then return false end
  local following = subscription.following or terms
  subscription.following = false
  if following.group == 'package' and following.id ~= terms.id then void_planned(work) end
  start_period(work, subscription, following, subscription.ends)
  return true
end

-- When the subscription is due; nil = it is not. An unpaid one was due at its `due` time, once the account can pay.
local function due_time_of(work, subscription)
  local state = subscription.state
  if state == 'active' or state == 'ending' then return subscription.ends end
  if state == 'planned' then return subscription.due end
  if state == 'unpaid' and can_pay(work, subscription, terms_at(work, subscription.terms, work.now)) then
    return subscription.due
  end
end

-- Order of two due subscriptions, each {time, order, instance}.
local function ranks_before(one, another)
  if one[1] ~= another[1] then return one[1] < another[1] end
  if one[2] ~= another[2] then return one[2] < another[2] end
  return one[3] < another[3]
end

-- Position of the subscription that is due first; nil = none is due.
local function first_due(work)
  local found, first, list = nil, nil, subscriptions_of(work)
  for n = 1, #list do
    local subscription = list[n]
    local at = due_time_of(work, subscription)
    if at and at <= work.now then
      local terms = subscription.terms
      local candidate = {at, terms.order, subscription.instance}
      if not first or ranks_before(candidate, first) then
        found, first = n, candidate
      end
    end
  end
  return found
end

local function run_subscriptions(work)
  while true do
    local n, list = first_due(work), subscriptions_of(work)
    if not n then return end
    local subscription = list[n]
    local state = subscription.state
    if state == 'active' or state == 'ending' then
      if not next_period(work, subscription) then
        subscription_event(work, subscription, 'ended')
        table.remove(list, n)
      end
    else
      start_period(work, subscription, subscription.terms, subscription.due)
    end
  end
end
