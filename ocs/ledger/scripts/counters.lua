-- Counters: how much was used in a window, how much is held, how much room there is. The spending limit is one of them (HOT-CC-1).

local SLOTS = 16 -- parts of a rolling window

local function find_counter(account, id)
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    if counter.id == id then return counter, n end
  end
end

-- A counter that the account lacks is made from its terms.
local function add_counter(w, counter_terms, key)
  local account = w.account
  local counter = find_counter(account, counter_terms.id)
  if counter then return counter end
  counter = new_counter()
  counter.id, counter.window, counter.measure = counter_terms.id, counter_terms.window, counter_terms.measure
  counter.limit, counter.thresholds, counter.window_s = counter_terms.limit, counter_terms.thresholds, counter_terms.window_s
  counter.window_key = key
  table.insert(account.counters, counter)
  return counter
end

local function window_key_now(w, window)
  if window == 'month' then return w.month end
  if window == 'day' then return w.day end
  return 0
end

-- Counters that a request's services move and the account lacks.
local function add_counters(w)
  local request = w.request
  local list = request.counters
  for n = 1, #list do
    local counter_terms = list[n]
    add_counter(w, counter_terms, window_key_now(w, counter_terms.window))
  end
end

local function begin_window(counter, key)
  counter.window_key, counter.value, counter.told, counter.slots = key, 0, 0, {}
end

-- What is older than the window leaves a rolling counter.
local function roll_slots(counter, now)
  local slots = counter.slots
  local gone, count = 0, 0
  while slots[count + 1] and slots[count + 1] <= now - counter.window_s do
    gone, count = gone + slots[count + 2], count + 2
  end
  if count == 0 then return end
  local rest = {}
  for n = count + 1, #slots do rest[#rest + 1] = slots[n] end
  counter.slots, counter.value = rest, counter.value - gone
  local thresholds, told = counter.thresholds, 0
  for n = 1, #thresholds do
    if thresholds[n] <= counter.told and counter.value > 0 and counter.value * 100 >= counter.limit * thresholds[n] then told = thresholds[n] end
  end
  counter.told = told
end

-- Windows that are over begin anew. A clock that is a little behind does not take one back.
local function roll_counters(w)
  local account = w.account
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    local window = counter.window
    if window == 'rolling' then
      roll_slots(counter, w.now)
    elseif window ~= 'period' then
      local key = window_key_now(w, window)
      if key > counter.window_key then begin_window(counter, key) end
    end
  end
end

-- The period of a subscription begins: its counters do too.
local function begin_period_counters(w, subscription)
  local terms = subscription.terms
  local list = terms.counters
  for n = 1, #list do
    local counter = add_counter(w, list[n], subscription.instance)
    begin_window(counter, subscription.instance)
  end
end

local function add_to(counter, amount, now)
  if amount == 0 then return end
  counter.value = counter.value + amount
  if counter.window ~= 'rolling' then return end
  local slots, width = counter.slots, max(idiv(counter.window_s, SLOTS), 1)
  local begins = now - fmod(now, width)
  local last = #slots
  if last > 0 and slots[last - 1] >= begins then
    slots[last] = slots[last] + amount
  else
    slots[last + 1], slots[last + 2] = begins, amount
  end
end

-- What a use moves a counter by.
local function moved_by(counter, money, credit_units, units)
  if counter.measure == 'money' then return money end
  if counter.measure == 'units' then return units end
  return credit_units
end

-- Money that goes back leaves the counters of the debit's window, as far as there is some.
local function give_counters_back(w, ids, month, money)
  local account = w.account
  for n = 1, #ids do
    local counter = find_counter(account, ids[n])
    if counter and counter.measure == 'money' and (counter.window ~= 'month' or counter.window_key == month) then
      counter.value = max(counter.value - money, 0)
    end
  end
end

local function room_of(counter)
  if counter.limit < 0 then return UNBOUNDED end
  return max(counter.limit - counter.value - counter.held, 0)
end

local function hold_counters(w, leg, money, credit_units, units)
  local account, ids, holds = w.account, leg.counters, {}
  for n = 1, #ids do
    local counter, amount = find_counter(account, ids[n]), 0
    if counter then
      amount = moved_by(counter, money, credit_units, units)
      counter.held = counter.held + amount
    end
    holds[n] = amount
  end
  leg.counter_holds = holds
end

local function release_counters(w, leg)
  local account, ids, holds = w.account, leg.counters, leg.counter_holds
  for n = 1, #holds do
    if holds[n] ~= 0 then
      local counter = find_counter(account, ids[n])
      if counter then counter.held = counter.held - holds[n] end
    end
  end
  if #holds > 0 then leg.counter_holds = {} end
end

-- Money that a leg holds is claimed: its counters hold as much less.
local function release_counters_money(w, leg, money)
  local account, ids, holds = w.account, leg.counters, leg.counter_holds
  for n = 1, #holds do
    local counter = find_counter(account, ids[n])
    if counter and counter.measure == 'money' then
      local back = min(money, holds[n])
      counter.held, holds[n] = counter.held - back, holds[n] - back
    end
  end
end

-- Events of the thresholds that a counter has now passed, each once a window and limit (HOT-CC-4, HOT-ROA-5). Returns whether one reached 100 %.
local function tell_thresholds(w)
  local account, full = w.account, false
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    local thresholds = counter.thresholds
    if counter.limit >= 0 and counter.told < 100 then
      for m = 1, #thresholds do
        local percent = thresholds[m]
        if percent > counter.told and counter.value * 100 >= counter.limit * percent then
          journal(w, {k = 'threshold', counter = counter.id, pct = percent, value = counter.value, limit = counter.limit})
          counter.told = percent
          if percent >= 100 then full = true end
        end
      end
    end
  end
  return full
end
