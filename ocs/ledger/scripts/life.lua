-- An account's life and the parts of its credit (HOT-ACC-2 to HOT-ACC-10). ocs/policy/life.py has the table of states.
-- work.life: a `life` record.

-- Unix time at which the account is terminated, if nothing is topped up (HOT-ACC-6).
local function end_of_life(work)
  local account, life = work.account, work.life
  return account.active_until + life.inactive_s
end

-- Journal a change of state. `was`: the state before. `ends`: Unix time at which the active period, or the account's
-- life, ends; 0 = open.
local function state_event(work, was, reason)
  local account, ends = work.account, 0
  local state = state_at(account, work.now)
  if account.active_until < UNUSED_UNTIL then ends = state == 'a' and account.active_until or end_of_life(work) end
  journal(work, {k = 'state', state = state, was = was, ends = ends, reason = reason or ''})
end

-- The end of the active period needs no event any more.
local function note_inactive(account)
  account.told_inactive, account.told_expiring = 1, max(account.told_expiring, 1)
end

-- Block the account for a reason, or lift one; "" lifts all.
local function set_block(work, reason, blocked)
  local account, was, list = work.account, state_at(work.account, work.now), {}
  for each in string.gmatch(account.blocks, '[^,]+') do
    if each ~= reason and reason ~= '' then list[#list + 1] = each end
  end
  if blocked then list[#list + 1] = reason end
  table.sort(list)
  account.blocks = table.concat(list, ',')
  if #list > 0 then
    account.state = 'b'
  else
    account.state = account.active_until == UNUSED_UNTIL and 'n' or 'a'
  end
  if state_at(account, work.now) == 'i' then note_inactive(account) end
  state_event(work, was, reason)
end

-- Pay refundable credit out, as far as it is not held, and the separate account (HOT-ACC-10). Returns the micro-EUR.
local function pay_out(work, reference, reason)
  local account = work.account
  local amount = min(account.credit - min(account.promotional, account.credit), account.credit - account.held)
  local own = account.separate
  amount = max(amount, 0)
  if amount + own == 0 then return 0 end
  account.credit, account.separate, account.refunded = account.credit - amount, 0, account.refunded + amount + own
  journal(work, {k = 'pay_out', ref = reference, reason = reason, debit = amount, separate_out = some(own),
    credit = account.credit})
  return amount + own
end

-- What is announced next: 1 inactivity, 2 termination; and its Unix time.
local function next_stage(work)
  local account = work.account
  if account.state == 'a' and account.told_inactive == 0 then return 1, account.active_until end
  return 2, end_of_life(work)
end

-- Unix time at which the sweeper must look at the account's life.
local function life_due(work)
  local account, life = work.account, work.life
  if account.state == 't' then return UNBOUNDED end
  local stage, ends = next_stage(work)
  return account.told_expiring >= stage and ends or ends - life.expiring_s
end

-- The active period is over (HOT-ACC-4), or soon will be, or the account is soon terminated: each is told once.
local function tell_life(work)
  local account, life = work.account, work.life
  if account.state == 't' then return end
  if account.told_inactive == 0 and state_at(account, work.now) == 'i' then
    note_inactive(account)
    state_event(work, 'a')
    notify(work, 'abort', 'state', work.now, any_session)
  end
  local stage, ends = next_stage(work)
  if account.told_expiring < stage and work.now >= ends - life.expiring_s and work.now < ends then
    account.told_expiring = stage
    journal(work, {k = 'expiring', state = stage == 1 and 'i' or 't', ends = ends})
  end
end

-- The active period begins anew with a top-up (HOT-ACC-3, HOT-ACC-5); that of an account not used yet does not.
local function extend_life(work)
  local account, life, was = work.account, work.life, state_at(work.account, work.now)
  account.active_until = max(account.active_until, work.now + life.active_s)
  account.told_inactive, account.told_expiring = 0, 0
  if was == 'i' then state_event(work, was) end
end

-- Take money out of the credit. Returns the promotional part of it.
local function take_credit(work, amount)
  local account, life = work.account, work.life
  local had = min(account.promotional, account.credit)
  local part = life.promotional_first == 1 and min(amount, had) or max(amount - (account.credit - had), 0)
  account.credit, account.promotional = account.credit - amount, had - part
  return part
end

-- Money was taken for a use: note a crossing of the mark for low credit (HOT-ACC-8).
local function note_low_credit(work, before)
  local account, life = work.account, work.life
  if before >= life.low_credit and account.credit < life.low_credit then work.low_credit = true end
end

-- Automatic top-up (HOT-TOP-4): an account whose credit is below its mark is put on the work list of its partition, once
-- until the credit is at the mark again. Call it if account.auto_below > 0.
local function ask_top_up(work)
  local account = work.account
  local is_below = account.credit < account.auto_below
  if is_below == (account.auto_asked == 1) or account.state == 't' then return end
  account.auto_asked = is_below and 1 or 0
  local list = key_prefix(work) .. 'topups'
  if is_below then
    redis.call('ZADD', list, work.now, work.account_id)
    journal(work, {k = 'auto_top_up', state = 'asked', credit = account.credit, below = account.auto_below})
  else
    account.auto_failures = 0
    redis.call('ZREM', list, work.account_id)
  end
end

local function journal_low_credit(work)
  local account, life = work.account, work.life
  if work.low_credit and account.state ~= 't' then
    journal(work, {k = 'low_credit', credit = account.credit, below = life.low_credit})
  end
  work.low_credit = false
end
