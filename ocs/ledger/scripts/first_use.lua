-- The first service of an account that was sold and not used yet (HOT-ACC-2): its active period begins, and its package
-- begins and is paid, before the request is settled. If the request comes to nothing, all of it is taken back.

-- Whether the request may be the first use: emergency calls are none.
local function may_be_first_use(work)
  local request, account = work.request, work.account
  local services = request.services
  if account.state ~= 'n' or (work.closed and request.type ~= 'I') or #services == 0 then return false end
  for n = 1, #services do
    local requested = services[n]
    if requested.always == 1 then return false end
  end
  return true
end

local function snapshot_of(work)
  local account, pool = work.account, work.pool
  if work.subscriptions then sum_up_subscriptions(work) end
  return {
    money = {account.credit, account.promotional, account.spent, account.active_until, account.last_instance,
      account.separate},
    subscriptions = {account.subscriptions, account.period_ends, account.subscriptions_due, account.armed,
      account.unpaid, account.facts},
    lists = pack({account.buckets, account.counters}),
    pool = pool and pack({pool.buckets, pool.last_instance}), pool_changed = work.pool_changed,
    first_event = #work.events + 1}
end

-- The highest threshold notified, by counter.
local function thresholds_told(account)
  local told, counters = {}, account.counters
  for n = 1, #counters do
    local counter = counters[n]
    told[counter.id] = counter.told
  end
  return told
end

local function begin_life(work)
  if not may_be_first_use(work) then return end
  local account, life = work.account, work.life
  wake(work)
  local snapshot = snapshot_of(work)
  account.state, account.active_until, work.due_changed = 'a', work.now + life.active_s, true
  state_event(work, 'n')
  local list = subscriptions_of(work)
  for n = 1, #list do
    local subscription = list[n]
    if subscription.state == 'unpaid' then subscription.state, subscription.due = 'planned', work.now end
  end
  run_subscriptions(work)
  snapshot.last_event, snapshot.told = #work.events, thresholds_told(account)
  work.before_life = snapshot
end

-- Notices of the request itself are in the journal already, and stay told.
local function keep_told(account, told, told_before)
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    local percent = told[counter.id] or 0
    if percent ~= (told_before[counter.id] or 0) then counter.told = percent end
  end
end

local function restore(work, snapshot)
  local account, pool = work.account, work.pool
  local told = thresholds_told(account)
  account.state = 'n'
  account.credit, account.promotional, account.spent, account.active_until, account.last_instance, account.separate =
    unpack(snapshot.money)
  account.subscriptions, account.period_ends, account.subscriptions_due, account.armed, account.unpaid, account.facts =
    unpack(snapshot.subscriptions)
  account.buckets, account.counters = unpack(unpack_value(snapshot.lists))
  if pool then
    pool.buckets, pool.last_instance = unpack(unpack_value(snapshot.pool))
    work.pool_changed = snapshot.pool_changed
  end
  for _ = snapshot.first_event, snapshot.last_event do table.remove(work.events, snapshot.first_event) end
  work.subscriptions, work.period_began, work.reauthorize, work.counters_by_rate = nil, false, nil, nil
  add_counters(work)
  keep_told(account, told, snapshot.told)
end

-- Keep the first use if a service was granted or paid, else take it back.
local function keep_or_undo_life(work)
  local snapshot, items = work.before_life, work.items
  if not snapshot then return end
  for n = 1, #items do
    local item = items[n]
    local result = item.result
    if result.granted > 0 or result.debited_micro_eur > 0 or result.debited_units > 0 then return end
  end
  restore(work, snapshot)
end
