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

local function slot_now(counter, now) return idiv(now * SLOTS, counter.window_s) end

local function reaches(counter, percent) return counter.limit >= 0 and counter.value * 100 >= counter.limit * percent end

-- What is older than the window leaves a rolling counter; a threshold that it falls below is told again when it is reached again.
local function roll_slots(counter, now)
  local slots, oldest, gone, count = counter.slots, slot_now(counter, now) - SLOTS, 0, #counter.slots
  for n = #slots - 1, 1, -2 do
    if slots[n] <= oldest then
      gone = gone + slots[n + 1]
      table.remove(slots, n + 1)
      table.remove(slots, n)
    end
  end
  if #slots == count then return end
  counter.value = counter.value - gone
  local thresholds, told = counter.thresholds, 0
  for n = 1, #thresholds do
    if thresholds[n] <= counter.told and reaches(counter, thresholds[n]) then told = thresholds[n] end
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

-- The period of a subscription begins: its counters are there, and those of a period begin anew.
local function begin_period_counters(w, terms, starts)
  local list = terms.counters
  for n = 1, #list do
    local counter_terms = list[n]
    local counter = add_counter(w, counter_terms, window_key_now(w, counter_terms.window))
    if counter_terms.window == 'period' then begin_window(counter, starts) end
  end
end

local function end_period_counters(w, terms)
  local account, list = w.account, terms.counters
  for n = 1, #list do
    local counter_terms = list[n]
    local counter = find_counter(account, counter_terms.id)
    if counter and counter.window == 'period' then begin_window(counter, 0) end
  end
end

local function add_to(counter, amount, now)
  if amount == 0 then return end
  counter.value = counter.value + amount
  if counter.window ~= 'rolling' then return end
  local slots, slot = counter.slots, slot_now(counter, now)
  for n = 1, #slots, 2 do
    if slots[n] == slot then
      slots[n + 1] = slots[n + 1] + amount
      return
    end
  end
  local at = #slots
  slots[at + 1], slots[at + 2] = slot, amount
end

-- The window that a counter counts in now, so that a refund leaves others alone.
local function window_of(counter, now)
  if counter.window == 'rolling' then return slot_now(counter, now) end
  return counter.window_key
end

local function take_back(counter, amount, window)
  if counter.window ~= 'rolling' then
    if counter.window_key == window then counter.value = max(counter.value - amount, 0) end
    return
  end
  local slots = counter.slots
  for n = 1, #slots, 2 do
    if slots[n] == window then
      local back = min(amount, slots[n + 1])
      slots[n + 1], counter.value = slots[n + 1] - back, counter.value - back
    end
  end
end

-- What a use moves a counter by.
local function moved_by(counter, money, credit_units, units)
  if counter.measure == 'money' then return money end
  if counter.measure == 'units' then return units end
  return credit_units
end

local function room_of(counter)
  if counter.limit < 0 then return UNBOUNDED end
  return max(counter.limit - counter.value - counter.held, 0)
end

local function hold_counters(w, leg, money, credit_units, units)
  local account, rate, holds = w.account, rate_of(leg), {}
  local ids = rate.counters
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
  local account, holds = w.account, leg.counter_holds
  if #holds == 0 then return end
  local rate = rate_of(leg)
  local ids = rate.counters
  for n = 1, #holds do
    if holds[n] ~= 0 then
      local counter = find_counter(account, ids[n])
      if counter then counter.held = counter.held - holds[n] end
    end
  end
  leg.counter_holds = {}
end

-- Part of what a leg holds is another's now: its counters of that measure hold as much less.
local function release_measure(w, leg, measure, amount)
  local account, rate, holds = w.account, rate_of(leg), leg.counter_holds
  local ids = rate.counters
  for n = 1, #holds do
    local counter = find_counter(account, ids[n])
    if counter and counter.measure == measure then
      local back = min(amount, holds[n])
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
    if counter.limit >= 0 and #thresholds > 0 then
      for m = 1, #thresholds do
        local percent = thresholds[m]
        if percent > counter.told and reaches(counter, percent) then
          journal(w, {k = 'threshold', counter = counter.id, pct = percent, value = counter.value, limit = counter.limit})
          counter.told = percent
          if percent >= 100 then full = true end
        end
      end
    end
  end
  return full
end
