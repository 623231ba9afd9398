-- Subscriptions: events, when a period ends, commitments, and what a change of the tariff voids.

-- `renewal`: a period went before.
local function package_event(work, subscription, price, paid, renewal, promotional)
  local account, terms = work.account, subscription.terms
  local own = subscription.separate == 1 and paid
  journal(work, {k = 'package', id = terms.id, instance = subscription.instance, price = price,
    period_end = subscription.ends, ok = paid, renewal = renewal or nil, debit = paid and not own and price or 0,
    credit = account.credit, separate_out = own and price or nil, promo = some(promotional or 0)})
end

-- What may pay a subscription: the credit, or the separate account of the member who ordered it (HOT-GRP-5).
local function purse_of(account, subscription)
  return subscription.separate == 1 and account.separate or account.credit
end

-- Take money from it. Returns the promotional part.
local function take_from_purse(work, subscription, amount)
  local account = work.account
  if subscription.separate == 0 then return take_credit(work, amount) end
  account.separate = account.separate - amount
  return 0
end

-- `why`: what forbids its next or first period; see `forbids_period`.
local function subscription_event(work, subscription, state, why)
  local terms = subscription.terms
  journal(work, {k = 'subscription', id = terms.id, instance = subscription.instance, state = state, reason = why})
end

local function is_running(subscription) return subscription.state == 'active' or subscription.state == 'ending' end

-- Whether it ends with its period.
local function is_last_period(subscription)
  local terms = subscription.terms
  return subscription.state == 'ending' or (terms.renews == 0 and not subscription.following)
end

-- Whether it is over at a time, and does not renew.
local function is_over(subscription, at)
  return is_running(subscription) and is_last_period(subscription) and subscription.ends <= at
end

-- Which condition of the terms the account does not meet for a period that begins at a time, or nil (HOT-PKG-3, -9,
-- -16). `own`: instance of the product itself, which does not count. The tariff is the one that runs, else the one that
-- waits for its fee.
local function unmet_condition(work, own, product, at)
  local list, requires, tariff = subscriptions_of(work), product.requires, nil
  local met = #requires == 0
  for n = 1, #list do
    local subscription = list[n]
    local terms = subscription.terms
    if subscription.instance ~= own and not is_over(subscription, at) then
      met = met or index_of(requires, terms.id) ~= nil
      local is_unpaid = subscription.state == 'unpaid' and not tariff
      if terms.group == 'package' and (is_running(subscription) or is_unpaid) then tariff = subscription end
    end
  end
  local in_force = tariff and tariff.terms
  if in_force and index_of(product.barred_with, in_force.id) then return 'barred' end
  if not met then return 'requires' end
  if product.running_tariff == 1 and not (tariff and is_running(tariff)) then return 'tariff' end
end

-- What forbids a product that waited to begin now, or nil: one of the account that is not over and excludes it, or is
-- excluded by it (HOT-PKG-9); a commitment of the one that it would replace (HOT-PKG-17).
local function standing_in_the_way(work, own, product, at)
  local list, excludes = subscriptions_of(work), product.excludes
  for n = 1, #list do
    local subscription = list[n]
    local terms, waits = subscription.terms, subscription.state == 'planned' or subscription.state == 'armed'
    if subscription.instance ~= own and not waits and not is_over(subscription, at) then
      if index_of(excludes, terms.id) or index_of(terms.excludes, product.id) then return 'excluded' end
      local replaced = product.group ~= '' and product.group == terms.group and product.id ~= terms.id
      if replaced and subscription.committed_until > at
        and (product.price < terms.price or product.commitment_days > 0) then
        return 'commitment'
      end
    end
  end
end

-- Why no period of these terms may begin at a time, or nil. `follows`: they are of another product than the one that
-- runs. A running commitment of its own keeps a product (HOT-PKG-17).
local function forbids_period(work, subscription, terms, at, follows)
  if subscription.committed_until > at and not follows then return nil end
  local why = (follows or not is_running(subscription)) and standing_in_the_way(work, subscription.instance, terms, at)
  return why or unmet_condition(work, subscription.instance, terms, at)
end

-- End of a period that starts now: that of the tariff's period, if the product says so and a tariff runs (HOT-PKG-8).
local function end_of_period(work, terms, starts)
  local list = subscriptions_of(work)
  for n = 1, terms.with_tariff == 1 and #list or 0 do
    local tariff = list[n]
    local terms = tariff.terms
    if terms.group == 'package' and is_running(tariff) and tariff.ends > max(starts, work.now) then return tariff.ends end
  end
  return starts + terms.period_s
end

-- Journal once that a period will soon be over (HOT-NOT-1).
local function tell_period_ends(work)
  local list = subscriptions_of(work)
  for n = 1, #list do
    local subscription = list[n]
    if subscription.notice_at > 0 and subscription.notice_at <= work.now and is_running(subscription) then
      local terms = subscription.terms
      journal(work, {k = 'subscription', id = terms.id, instance = subscription.instance, state = 'expiring',
        ends = subscription.ends, renews = is_last_period(subscription) and 0 or 1})
      subscription.notice_at = 0
    end
  end
end

-- A tariff takes the place of another: planned activations of products that say so are void (HOT-PKG-11).
local function void_planned(work)
  local list = subscriptions_of(work)
  for n = #list, 1, -1 do
    local subscription = list[n]
    local terms = subscription.terms
    if subscription.state == 'planned' and terms.voided_by_change == 1 then
      subscription_event(work, subscription, 'voided')
      table.remove(list, n)
    end
  end
end

-- The commitment of a product begins with its first period (HOT-PKG-17).
local function begin_commitment(subscription)
  local terms = subscription.terms
  if terms.commitment_days == 0 or subscription.committed_to == terms.id then return end
  subscription.committed_to, subscription.committed_days = terms.id, terms.commitment_days
  subscription.committed_until = subscription.starts + terms.commitment_days * 86400
  subscription.committed_benefits = terms.benefits
end

local function drop(work, subscription)
  local list, instance = subscriptions_of(work), subscription.instance
  for n = #list, 1, -1 do
    local subscription = list[n]
    if subscription.instance == instance then table.remove(list, n) end
  end
end

-- A commitment that runs goes over to the subscription that takes the place of `ended`.
local function take_over_commitment(work, subscription, ended)
  if ended.committed_until <= max(work.now, subscription.committed_until) then return end
  subscription.committed_to, subscription.committed_days = ended.committed_to, ended.committed_days
  subscription.committed_until, subscription.committed_benefits = ended.committed_until, ended.committed_benefits
end

-- End the other started or unpaid subscriptions of the group, and their buckets.
local function replace_group(work, subscription)
  local terms, list, changed = subscription.terms, subscriptions_of(work), false
  if terms.group == '' then return end
  local n = 1
  while list[n] do
    local ended = list[n]
    local ended_terms, waits = ended.terms, ended.state == 'planned' or ended.state == 'armed'
    if ended.instance ~= subscription.instance and ended_terms.group == terms.group and not waits then
      end_buckets(work, ended)
      table.remove(list, n)
      subscription_event(work, ended, 'ended')
      take_over_commitment(work, subscription, ended)
      changed = changed or ended_terms.id ~= terms.id
    else
      n = n + 1
    end
  end
  if changed and terms.group == 'package' then void_planned(work) end
end

-- Begin a period, for which the fee was paid.
local function begin_period(work, subscription, starts)
  local terms = subscription.terms
  subscription.state, subscription.starts, subscription.due = 'active', starts, 0
  subscription.ends = end_of_period(work, terms, starts)
  local notice_at = subscription.ends - terms.notice_s
  subscription.notice_at = terms.notice_s > 0 and notice_at > work.now and notice_at or 0
  begin_commitment(subscription)
  replace_group(work, subscription)
end

-- Whether the monthly limit leaves room for a price that counts to it (HOT-CC-2). It bounds the credit, not a separate
-- account.
local function limit_allows(work, subscription, terms)
  local counter = terms.counts == 1 and subscription.separate == 0 and find_counter(work.account, 'limit')
  return not counter or room_of(counter) >= terms.price
end

local function count_price(work, subscription)
  local terms = subscription.terms
  local counter = terms.counts == 1 and subscription.separate == 0 and find_counter(work.account, 'limit')
  if not counter then return end
  add_to_counter(counter, terms.price, work.now)
  journal_thresholds(work)
end

-- Debit a share of a benefit as far as there is credit. Returns the micro-EUR that stay unpaid.
local function pay_share(work, subscription, share)
  local account, terms = work.account, subscription.terms
  local name, amount, days_left, days = unpack(share)
  local paid, before = min(amount, purse_of(account, subscription)), account.credit
  local promotional, own = take_from_purse(work, subscription, paid), subscription.separate == 1
  account.spent = account.spent + paid
  note_low_credit(work, before)
  journal(work, {k = 'share', id = terms.id, instance = subscription.instance, benefit = name, days_left = days_left,
    days = days, debit = own and 0 or paid, separate_out = own and paid or nil, unpaid = some(amount - paid),
    credit = account.credit, promo = some(promotional)})
  return amount - paid
end

-- Debit the shares of benefits that an early end costs: {{name, micro-EUR, days left, days agreed}, …}, a transaction
-- each (HOT-REC-4). False: the credit does not cover them.
local function pay_shares(work, subscription, shares)
  local account, sum = work.account, 0
  if subscription.committed_until == 0 then return true end
  for n = 1, #shares do sum = sum + shares[n][2] end
  if purse_of(account, subscription) < sum then return false end
  for n = 1, #shares do pay_share(work, subscription, shares[n]) end
  subscription.committed_until, subscription.committed_benefits = 0, {}
  return true
end

-- The account ends, or a subscription ends with all its credit: debit the shares as far as there is credit (HOT-REC-4).
-- `ends`: instance as text → its shares. Returns the micro-EUR that stay unpaid.
local function pay_last_shares(work, ends)
  local list, unpaid = subscriptions_of(work), 0
  for n = 1, #list do
    local subscription = list[n]
    local shares = ends[tostring(subscription.instance)] or {}
    if subscription.committed_until > 0 and #shares > 0 then
      for m = 1, #shares do unpaid = unpaid + pay_share(work, subscription, shares[m]) end
      subscription.committed_until, subscription.committed_benefits = 0, {}
    end
  end
  return unpaid
end
