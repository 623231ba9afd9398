-- What is due, and when something is next: fees before holds (docs/LEDGER.md). Every script on an account runs it.

local LIFE_S = 270 * 86400 -- an inactive account is terminated after that (HOT-ACC-6)

local function money_free(account) return account.credit - account.held end

local function package_event(w, subscription, price, paid)
  local account, terms = w.account, subscription.terms
  journal(w, {k = 'package', id = terms.id, instance = subscription.instance, price = price, period_end = subscription.ends, ok = paid,
    debit = paid and price or 0, credit = account.credit})
end

local function subscription_event(w, subscription, state)
  local terms = subscription.terms
  journal(w, {k = 'subscription', id = terms.id, instance = subscription.instance, state = state})
end

-- Subscriptions of the group but this one are replaced: their units are gone.
local function replace_group(w, subscription)
  local terms = subscription.terms
  local group, instance, list = terms.group, subscription.instance, subscriptions_of(w)
  if group == '' then return end
  local n = 1
  while list[n] do
    local subscription = list[n]
    local terms, waits = subscription.terms, subscription.state == 'planned' or subscription.state == 'armed'
    if subscription.instance ~= instance and terms.group == group and not waits then
      end_buckets(w, subscription)
      table.remove(list, n)
      subscription_event(w, subscription, 'ended')
    else
      n = n + 1
    end
  end
end

-- The fee is not paid: its units are gone, and it begins when there is enough credit.
local function leave_unpaid(w, subscription, due)
  local terms = subscription.terms
  end_buckets(w, subscription)
  subscription.state, subscription.due, subscription.starts, subscription.ends = 'unpaid', due, 0, 0
  w.replan = true
  package_event(w, subscription, terms.price, false)
end

-- The fee is paid from the credit, whatever is held; the price does not count as spending (HOT-CC-2).
local function pay_fee(w, subscription, starts)
  local account, terms = w.account, subscription.terms
  account.credit, account.spent = account.credit - terms.price, account.spent + terms.price
  subscription.state, subscription.starts, subscription.ends, subscription.due = 'active', starts, starts + terms.period_s, 0
  replace_group(w, subscription)
  lay_out_buckets(w, subscription)
  begin_period_counters(w, terms, starts)
  package_event(w, subscription, terms.price, true)
  w.renewed, w.replan = true, true
end

local function can_pay(w, terms)
  local account = w.account
  return state_at(account, w.now) == 'a' and account.credit >= terms.price
end

local function next_period(w, subscription)
  local ended, terms = subscription.ends, subscription.terms
  end_buckets(w, subscription)
  if subscription.state == 'ending' or (terms.renews == 0 and not subscription.following) then return false end
  terms = subscription.following or terms
  subscription.terms, subscription.following = terms, false
  if can_pay(w, terms) then
    -- The new period follows the old one without a gap, unless the system slept through a whole period.
    pay_fee(w, subscription, w.now >= ended + terms.period_s and w.now or ended)
  else
    leave_unpaid(w, subscription, ended)
  end
  return true
end

-- The time at which a subscription wants something, nil = never; of one whose fee is not paid and can be now, when it was due.
local function subscription_wants(w, subscription)
  local state = subscription.state
  if state == 'active' or state == 'ending' then return subscription.ends end
  if state == 'planned' or (state == 'unpaid' and can_pay(w, subscription.terms)) then return subscription.due end
end

-- The subscription that is due first: by time, order, instance.
local function first_due(w)
  local found, rank, list = nil, nil, subscriptions_of(w)
  for n = 1, #list do
    local subscription = list[n]
    local at = subscription_wants(w, subscription)
    if at and at <= w.now then
      local terms = subscription.terms
      local item = {at, terms.order, subscription.instance}
      if not rank or item[1] < rank[1] or (item[1] == rank[1] and (item[2] < rank[2] or (item[2] == rank[2] and item[3] < rank[3]))) then
        found, rank = n, item
      end
    end
  end
  return found
end

local function run_subscriptions(w)
  while true do
    local n, list = first_due(w), subscriptions_of(w)
    if not n then return end
    local subscription = list[n]
    local state, terms = subscription.state, subscription.terms
    if state == 'active' or state == 'ending' then
      if not next_period(w, subscription) then
        subscription_event(w, subscription, 'ended')
        table.remove(list, n)
      end
    elseif can_pay(w, terms) then
      local late = state == 'unpaid' or w.now >= subscription.due + terms.period_s
      pay_fee(w, subscription, late and w.now or subscription.due)
    else
      leave_unpaid(w, subscription, subscription.due)
    end
  end
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function claim_from(w, session, excess)
  local account, services = w.account, session.services
  local keys, claimed = sorted_keys(services), 0
  for n = 1, #keys do
    local service = services[keys[n]]
    local legs = service.legs
    for m = 1, #legs do
      local leg = legs[m]
      local take = min(leg.held, excess - claimed)
      if take > 0 then
        leg.held, account.held, claimed = leg.held - take, account.held - take, claimed + take
        release_measure(w, leg, 'money', take)
      end
    end
  end
  return claimed
end

-- After a fee more may be held than there is: money held is claimed, of the request's own session first; the others are asked.
local function claim_holds(w, own_sid)
  local account = w.account
  local excess, sessions = account.held - account.credit, account.sessions
  if excess <= 0 then return end
  if own_sid and sessions[own_sid] then excess = excess - claim_from(w, sessions[own_sid], excess) end
  local sids = sorted_keys(sessions)
  for n = 1, #sids do
    if excess <= 0 then return end
    if sids[n] ~= own_sid then
      local claimed = claim_from(w, sessions[sids[n]], excess)
      excess = excess - claimed
      if claimed > 0 then
        w.asked = w.asked or {}
        w.asked[sids[n]] = true
      end
    end
  end
end

-- Sessions and services past their deadline; `keep` is the request's own session.
local function run_sessions(w, keep)
  local account, due = w.account, nil
  for sid, session in pairs(account.sessions) do
    if sid ~= keep and session.deadline <= w.now then
      due = due or {}
      due[#due + 1] = sid
    elseif session.given_up == 0 then
      for _, service in pairs(session.services) do
        if service.granted > 0 and service.deadline <= w.now then give_up_service(w, service) end
      end
    end
  end
  if not due then return end
  table.sort(due)
  for n = 1, #due do
    local session = account.sessions[due[n]]
    if session and session.given_up == 1 then
      forget_session(w, due[n])
    elseif session then
      give_up(w, due[n], session, 'deadline')
    end
  end
end

local function run_entries(w)
  local account = w.account
  local agenda = account.agenda
  if #agenda == 0 then return end
  table.sort(agenda, function(entry, next_entry)
    if entry.at ~= next_entry.at then return entry.at < next_entry.at end
    return entry.kind .. ' ' .. entry.ref < next_entry.kind .. ' ' .. next_entry.ref
  end)
  while agenda[1] do
    local entry = agenda[1]
    if entry.at > w.now then break end
    journal(w, {k = 'due', kind = entry.kind, ref = entry.ref})
    table.remove(agenda, 1)
  end
end

-- Whether anything but counters and a pool can be due: what is due first is the account's score in the due set.
local function anything_due(w)
  local account = w.account
  return account.due > 0 and account.due <= w.now
end

-- All that is due up to now. `keep`: Session-Id of the request's own session.
local function run_agenda(w, keep)
  w.keep = keep
  roll_counters(w)
  end_pool_buckets(w)
  run_subscriptions(w)
  claim_holds(w, keep)
  run_sessions(w, keep)
  run_entries(w)
  trim(w)
end

-- When the account must next be looked at; 0 = never.
local function next_due(w)
  local account, due = w.account, UNBOUNDED
  local agenda = account.agenda
  if w.subscriptions then sum_up_subscriptions(w) end
  if account.subscriptions_due > 0 then due = account.subscriptions_due end
  for n = 1, #agenda do
    local entry = agenda[n]
    due = min(due, entry.at)
  end
  for _, session in pairs(account.sessions) do
    due = min(due, session.deadline)
    if session.given_up == 0 then
      for _, service in pairs(session.services) do
        if service.granted > 0 then due = min(due, service.deadline) end
      end
    end
  end
  if account.state ~= 't' then
    local told = account.told_inactive == 1 or account.state ~= 'a'
    due = min(due, told and account.active_until + LIFE_S or account.active_until)
  end
  return due == UNBOUNDED and 0 or due
end

-- An earlier look than planned is entered at once; a later one is found by the sweeper, which then plans anew. `deadline`: the earliest that
-- this script has set; other changes say so by w.replan.
local function plan_earlier(w, deadline)
  local account = w.account
  if not w.replan and account.due > 0 and account.due <= deadline then return end
  local due = next_due(w)
  if due > 0 and (account.due == 0 or due < account.due) then
    account.due = due
    redis.call('ZADD', w.keys.due, due, w.id)
  end
end

local function plan_anew(w)
  local account, due = w.account, next_due(w)
  if due > 0 then
    if due ~= account.due then redis.call('ZADD', w.keys.due, due, w.id) end
  elseif account.due ~= 0 then
    redis.call('ZREM', w.keys.due, w.id)
  end
  account.due = due
end

-- RAR for the sessions whose holds were claimed, and (after a period began) for those that starve.
local function tell_claimed(w)
  if w.asked then
    notify(w, 'reauthorize', 'reclaim', w.now, function(_, sid) return w.asked[sid] end)
  end
  if w.renewed then notify(w, 'reauthorize', 'package', w.now, starving) end
end

-- What every script on an account but charging begins with: the account, brought up to now. `keep`: a session that the agenda leaves alone;
-- `ended_too`: also of an account that was terminated. Returns the work, or nil and a word.
local function begin_work(id, q, keys, keep, ended_too)
  local why = wrong_clock(q.now, q.max_skew_s)
  if why then return nil, why end
  local document = redis.call('GET', keys.account)
  if not document then return nil, 'unknown' end
  local account, reason = unpacked('account', document)
  if not account then return nil, reason end
  if account.moved_to ~= '' then return nil, 'moved ' .. account.moved_to end
  local w = {id = id, now = q.now, month = q.month, day = q.day, account = account, events = {}, keys = keys}
  reason = load_pool(w, q.pool)
  if reason then return nil, reason == 'pool' and 'pool ' .. account.pool or reason end
  if account.state == 't' and not ended_too then return nil, 'state' end
  run_agenda(w, keep)
  return w
end

-- And ends with: what the change has made possible, or due.
local function end_work(w)
  run_subscriptions(w)
  claim_holds(w, nil)
  plan_anew(w)
  save(w)
  local journalled = journal_all(w)
  tell_claimed(w)
  return journalled
end

-- An account ends for ever: its sessions are aborted, its credit and units are lost, its number is free.
local function terminate(w, asked_at)
  local account, lost = w.account, 0
  notify(w, 'abort', 'state', asked_at, any_session)
  local sids = sorted_keys(account.sessions)
  for n = 1, #sids do
    local session = account.sessions[sids[n]] -- it may have been dropped as one too many
    if session and session.given_up == 0 then give_up(w, sids[n], session, 'terminated') end
  end
  sids = sorted_keys(account.sessions)
  for n = 1, #sids do forget_session(w, sids[n]) end
  local subscriptions = subscriptions_of(w)
  for n = 1, #subscriptions do end_buckets(w, subscriptions[n]) end
  lost = account.credit
  account.state, account.credit, account.expired = 't', 0, account.expired + lost
  w.subscriptions, account.buckets, account.agenda, account.sessions, account.pool = {}, {}, {}, {}, ''
  journal(w, {k = 'terminated', debit = lost, credit = 0})
  redis.call('HSET', w.keys.own, 'x' .. w.id, w.id) -- the audit finds it by this one from now on
  redis.call('HDEL', w.keys.own, 'm' .. account.msisdn)
end
