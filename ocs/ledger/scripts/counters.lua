-- Counters: the amount used in a window, what is held, and the room to the limit. The spending limit is one (HOT-CC-1).

local SLOTS = 16 -- parts of a rolling window
local NO_LIMIT, NOT_ONCE = -1, -2 -- `limit` of a counter that has none; `lasting` of one whose limit lasts

local function find_counter(account, id)
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    if counter.id == id then return counter, n end
  end
end

local places_by_rate = setmetatable({}, {__mode = 'k'}) -- of the rates that `terms_kept` has

-- Where the counters of a rate were in the account before: mostly they are there in the next one too.
local function likely_places(rate)
  local places = places_by_rate[rate]
  if not places then
    places = {}
    places_by_rate[rate] = places
  end
  return places
end

-- Counters that a rate moves, in the order of its ids; false = the account lacks it (`work.lacking`: it lacks some).
local function counters_of(work, rate)
  local by_rate = work.counters_by_rate
  if not by_rate then
    by_rate = {}
    work.counters_by_rate = by_rate
  end
  local found = by_rate[rate]
  if found then return found end
  local account, ids, places = work.account, rate.counters, likely_places(rate)
  local counters = account.counters
  found = {}
  for n = 1, #ids do
    local counter = counters[places[n] or 1]
    if not counter or counter.id ~= ids[n] then
      counter, places[n] = find_counter(account, ids[n])
    end
    found[n] = counter or false
    if not counter then work.lacking = true end
  end
  by_rate[rate] = found
  return found
end

-- The counter of these terms; it is added if the account lacks it.
local function add_counter(work, counter_terms, key)
  local account = work.account
  local counter = find_counter(account, counter_terms.id)
  if counter then return counter end
  counter = new_counter()
  counter.id, counter.window, counter.measure = counter_terms.id, counter_terms.window, counter_terms.measure
  counter.limit = counter_terms.limit
  counter.thresholds = counter_terms.thresholds
  counter.window_s = counter_terms.window_s
  counter.at_limit = counter_terms.at_limit
  counter.window_key = key
  table.insert(account.counters, counter)
  work.counters_by_rate = nil
  return counter
end

local function window_key_now(work, window)
  if window == 'month' then return work.month end
  if window == 'day' then return work.day end
  return 0
end

-- Whether the account lacks a counter that the request's services move.
local function lacks_counters(work)
  local request = work.request
  local list = request.services
  for n = 1, #list do
    local requested = list[n]
    local rates = requested.legs
    for m = 1, #rates do
      local counters = counters_of(work, unpacked(rates[m]))
      for k = 1, work.lacking and #counters or 0 do
        if not counters[k] then return true end
      end
    end
  end
  return false
end

-- Add the counters that the request's services move and the account lacks.
local function add_counters(work)
  local request = work.request
  if request.counters == '' or not lacks_counters(work) then return end
  local list = unpacked(request.counters)
  for n = 1, #list do
    local counter_terms = list[n]
    add_counter(work, counter_terms, window_key_now(work, counter_terms.window))
  end
end

local function begin_window(counter, key)
  counter.window_key, counter.value, counter.told, counter.slots = key, 0, 0, ''
  if counter.lasting ~= NOT_ONCE then counter.limit, counter.lasting = counter.lasting, NOT_ONCE end
end

local function slot_now(counter, now) return idiv(now * SLOTS, counter.window_s) end

local function reaches(counter, percent)
  return counter.limit >= 0 and counter.value * 100 >= counter.limit * percent
end

-- Drop the slots of a rolling counter that have left its window. A threshold above the new value may be notified again.
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

-- Begin a new window where the old one is over. A clock that is slightly behind does not bring an old window back.
local function roll_counter(work, counter)
  local window = counter.window
  if window == 'rolling' then
    roll_slots(counter, work.now)
  elseif window ~= 'period' then
    local key = window == 'month' and work.month or window_key_now(work, window)
    if key > counter.window_key then begin_window(counter, key) end
  end
end

local function roll_counters(work)
  local account = work.account
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    local window = counter.window
    local key = window == 'month' and work.month or window == 'day' and work.day
    if not key or key > counter.window_key then roll_counter(work, counter) end
  end
end

-- A subscription period begins: add its counters; those with the window "period" begin anew, with its limit.
local function begin_period_counters(work, terms, starts)
  local list = terms.counters
  for n = 1, #list do
    local counter_terms = list[n]
    local counter = add_counter(work, counter_terms, window_key_now(work, counter_terms.window))
    if counter_terms.window == 'period' then
      begin_window(counter, starts)
      counter.limit, counter.thresholds = counter_terms.limit, counter_terms.thresholds
      counter.at_limit = counter_terms.at_limit
    end
  end
end

local function end_period_counters(work, terms)
  local account, list = work.account, terms.counters
  for n = 1, #list do
    local counter_terms = list[n]
    local counter = find_counter(account, counter_terms.id)
    if counter and counter.window == 'period' then
      begin_window(counter, 0)
      counter.limit = NO_LIMIT
    end
  end
end

local function add_to_counter(counter, amount, now)
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
  if slots == '' then
    slots = {}
    counter.slots = slots
  end
  local at = #slots
  slots[at + 1], slots[at + 2] = slot, amount
end

-- Identifies the current window, so that a refund changes no other.
local function window_of(counter, now)
  if counter.window == 'rolling' then return slot_now(counter, now) end
  return counter.window_key
end

local function uncount(counter, amount, window)
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

-- Amount by which a use moves a counter, by its measure.
local function counter_amount(counter, money, credit_units, units)
  if counter.measure == 'money' then return money end
  if counter.measure == 'units' then return units end
  if counter.measure == 'bucket_units' then return units - credit_units end
  return credit_units
end

-- Units that buckets may still pay on a leg of a rate with a volume, by its counters that change the price at their
-- limit. `left`: what earlier legs of the same grant leave of each, nil = there are none.
local function volume_room(work, rate, ignore_holds, left)
  local room, counters, moved = UNBOUNDED, counters_of(work, rate), work.volume_moved or {}
  for n = 1, #counters do
    local counter = counters[n]
    if counter and counter.at_limit == 'price' and counter.limit >= 0 then
      local id, held = counter.id, ignore_holds and 0 or counter.held
      room = min(room, left and left[id] or max(counter.limit - counter.value - held - (moved[id] or 0), 0))
    end
  end
  return room
end

-- Buckets pay units on a leg of this rate before its counters move: note them.
local function note_volume(work, rate, units)
  local ids, moved = rate.counters, work.volume_moved or {}
  for n = 1, #ids do moved[ids[n]] = (moved[ids[n]] or 0) + units end
  work.volume_moved = moved
end

-- Price of what credit pays, when buckets may pay `room` units more. `beyond` is for prices of its own rate: in the
-- tallies of another rate its use would be rounded in that rate's steps (HOT-PKG-5).
local function credit_price(rate, price, room)
  local next_price = rate.beyond
  return room <= 0 and next_price and same_rate(next_price.id, price.id) and next_price or price
end

local function room_of(counter)
  if counter.limit < 0 then return UNBOUNDED end
  return max(counter.limit - counter.value - counter.held, 0)
end

local function hold_counters(work, leg, money, credit_units, units)
  local counters, holds = counters_of(work, rate_of(leg)), ''
  for n = 1, #counters do
    local counter = counters[n]
    local amount = counter and counter_amount(counter, money, credit_units, units) or 0
    if amount ~= 0 then
      counter.held = counter.held + amount
      if holds == '' then
        holds = {}
        for m = 1, #counters do holds[m] = 0 end
      end
      holds[n] = amount
    end
  end
  leg.counter_holds = holds
end

local function release_counters(work, leg)
  local holds = leg.counter_holds
  if #holds == 0 then return end
  local counters = counters_of(work, rate_of(leg))
  for n = 1, #holds do
    if holds[n] ~= 0 then
      local counter = counters[n]
      if counter then counter.held = counter.held - holds[n] end
    end
  end
  leg.counter_holds = ''
end

-- Part of a leg's hold was used or taken: its counters of that measure hold less by the same amount.
local function release_measure(work, leg, measure, amount)
  local counters, holds = counters_of(work, rate_of(leg)), leg.counter_holds
  for n = 1, #holds do
    local counter = counters[n]
    if counter and counter.measure == measure then
      local back = min(amount, holds[n])
      counter.held, holds[n] = counter.held - back, holds[n] - back
    end
  end
end

local function journal_threshold(work, counter, percent)
  local muted = has_measure(work, 'mute', counter.id, counter.id .. ':' .. percent)
  journal(work, {k = 'threshold', counter = counter.id, pct = percent, value = counter.value,
    limit = counter.limit, window = counter.window, muted = muted or nil})
  counter.told = percent
end

-- Lowest threshold that a counter has passed and that is still to be journalled; nil = none.
local function next_threshold(counter)
  local limit, thresholds, told = counter.limit, counter.thresholds, counter.told
  if limit < 0 then return nil end
  for n = 1, #thresholds do
    local percent = thresholds[n]
    if percent > told then return counter.value * 100 >= limit * percent and percent or nil end
  end
end

local function by_id(counter, next_counter) return counter.id < next_counter.id end

-- Journal the thresholds that counters have passed, by id, each once per window and limit (HOT-CC-4, HOT-ROA-5).
-- Returns whether a counter reached 100 %.
local function journal_thresholds(work)
  local account, passed, full = work.account, nil, false
  local counters = account.counters
  for n = 1, #counters do
    local counter = counters[n]
    if counter.limit >= 0 and next_threshold(counter) then
      passed = passed or {}
      passed[#passed + 1] = counter
    end
  end
  if not passed then return false end
  table.sort(passed, by_id)
  for n = 1, #passed do
    local percent = next_threshold(passed[n])
    while percent do
      journal_threshold(work, passed[n], percent)
      full = full or percent >= 100
      percent = next_threshold(passed[n])
    end
  end
  return full
end
