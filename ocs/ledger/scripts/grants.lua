-- How much can be granted (step 6): what buckets and credit pay and counters leave; and its holds.

-- Whether another service of the session has a grant at the same rate. Both may use the rest of the step begun, so it
-- is granted to neither.
local function step_is_shared(work, own, price)
  local session = work.session
  if not work.several_services then return false end
  for _, other_service in pairs(session.services) do
    if other_service ~= own and other_service.granted > 0 then
      local legs = other_service.legs
      for n = 1, #legs do
        local rate = rate_of(legs[n])
        local next_price, after_switch = rate.price, rate.price_after
        if same_rate(next_price.id, price.id) then return true end
        if after_switch and other_service.spans == 1 and other_service.switch_at > 0 then
          next_price = after_switch
          if same_rate(next_price.id, price.id) then return true end
        end
      end
    end
  end
  return false
end

-- Raw units used at a rate, for the next grant: the rest of a step counts as used if the step is unpaid or shared.
-- UNBOUNDED: a flat price is unpaid, nothing is granted.
local function used_for_grant(work, item, price)
  local raw, unpaid = used_at_rate(work.session, price)
  if price.flat == 1 then return unpaid and UNBOUNDED or raw end
  if unpaid or step_is_shared(work, item.service, price) then return billable(price, raw) end
  return raw
end

-- Price after the switch, if the grant may be used on both sides of it (RFC 8506 §5.1.1); else false.
local function price_after_switch(service, rate)
  return service.spans == 1 and service.switch_at > 0 and rate.price_after
end

-- What a grant can be reserved from. `ignore_holds`: as if the account held nothing; `ignore_limits`: as if counters
-- had no limits ("all"), or those that restrict a service ("restrict"); `maximum`: most money, nil = all that is free.
local function funds_of(work, ignore_holds, ignore_limits, maximum)
  local account = work.account
  local money = ignore_holds and account.credit or money_free(account)
  return {money = min(money, maximum or UNBOUNDED), ignore_holds = ignore_holds, ignore_limits = ignore_limits,
    covered = false}
end

local function free_units(funds, source)
  local bucket = source.bucket
  if funds.ignore_holds and source.pooled == 0 and bucket.left >= 0 then return bucket.left end
  return unheld_units(source)
end

local function counter_room(funds, counter)
  if counter.limit < 0 or (funds.ignore_limits and counter.at_limit ~= 'price'
    and (funds.ignore_limits == 'all' or counter.at_limit == 'restrict')) then
    return UNBOUNDED
  end
  return max(counter.limit - counter.value - (funds.ignore_holds and 0 or counter.held), 0)
end

-- Least room of the counters that a leg moves, by measure: money, units paid by credit, units, units paid by buckets.
local function counter_rooms(work, leg, funds)
  local counters = counters_of(work, rate_of(leg))
  local money, credit_units, units, bucket_units = UNBOUNDED, UNBOUNDED, UNBOUNDED, UNBOUNDED
  for n = 1, #counters do
    local counter = counters[n]
    if counter and counter.limit >= 0 then
      local room = counter_room(funds, counter)
      if counter.measure == 'money' then
        money = min(money, room)
      elseif counter.measure == 'units' then
        units = min(units, room)
      elseif counter.measure == 'bucket_units' then
        if counter.at_limit ~= 'price' then bucket_units = min(bucket_units, room) end
      else
        credit_units = min(credit_units, room)
      end
    end
  end
  return money, credit_units, units, bucket_units
end

-- Raw units that can be granted at a price; `for_credit`: the price of what credit pays. Credit is not looked at if
-- buckets pay for `upto`; the second result says so.
local function room_at(work, item, price, for_credit, in_buckets, money, credit_units, most_units, upto)
  local raw, units = used_for_grant(work, item, price), in_buckets
  if raw == UNBOUNDED then return 0, false end
  if units > 0 then
    local room = raw_room(price, raw, min(units, most_units))
    if room >= upto then return room, true end
  end
  if units < UNBOUNDED then
    local by_credit = affordable(for_credit, paid_at(work.session, for_credit), money)
    units = min(units + min(by_credit, credit_units), UNBOUNDED)
  end
  return raw_room(price, raw, min(units, most_units)), false
end

-- Raw units that can be granted on a leg, if they are fewer than `upto`. Sets funds.covered: buckets pay for `upto`.
local function room_of_leg(work, item, leg, sources, funds, upto)
  local rate, in_buckets = rate_of(leg), 0
  local volume = rate.volume == 1 and volume_room(work, rate, funds.ignore_holds) or UNBOUNDED
  for n = 1, #sources do in_buckets = min(in_buckets + free_units(funds, sources[n]), UNBOUNDED) end
  if volume < UNBOUNDED then in_buckets, volume = min(in_buckets, volume), max(volume - in_buckets, 0) end
  local money, credit_units, most_units, bucket_units = counter_rooms(work, leg, funds)
  money = min(money, funds.money)
  if in_buckets > bucket_units then most_units = min(most_units, bucket_units) end
  local for_credit = credit_price(rate, rate.price, volume)
  local room, covered = room_at(work, item, rate.price, for_credit, in_buckets, money, credit_units, most_units, upto)
  local after_switch = price_after_switch(item.service, rate)
  if after_switch then
    for_credit = credit_price(rate, after_switch, volume)
    local room_after, covered_after = room_at(work, item, after_switch, for_credit, in_buckets, money, credit_units,
      most_units, upto)
    room, covered = min(room, room_after), covered and covered_after
  end
  funds.covered = covered
  return room
end

-- Billable units of a grant at a price; nil = nothing can be granted.
local function units_needed(work, item, price, grant)
  local raw = used_for_grant(work, item, price)
  if raw == UNBOUNDED then return nil end
  return billable(price, raw + grant) - billable(price, raw)
end

local function cost_of(session, price, units)
  if units <= 0 then return 0 end
  local paid = paid_at(session, price)
  return cost(price, paid + units) - cost(price, paid)
end

-- Note in `free` what a leg's buckets leave to the counters that change the price.
local function leave_volume(work, leg, funds, free, units)
  local counters = counters_of(work, rate_of(leg))
  for n = 1, #counters do
    local counter = counters[n]
    if counter and counter.at_limit == 'price' and counter.limit >= 0 then
      local id = counter.id
      free[id] = (free[id] or counter_room(funds, counter)) - units
    end
  end
end

-- What a leg must hold for a grant, at the dearer side of a price switch: holds {source, units, …}, money, units paid
-- by credit, units. nil = nothing can be granted. `free`: units that earlier legs leave in each bucket, and to each
-- counter that changes the price, by its id; nil = not needed.
local function plan_leg(work, item, leg, sources, grant, free, funds)
  local rate, session = rate_of(leg), work.session
  local after_switch = price_after_switch(item.service, rate)
  local need, need_after = units_needed(work, item, rate.price, grant), 0
  if after_switch then need_after = units_needed(work, item, after_switch, grant) end
  if not need or not need_after then return nil end
  local most, holds = max(need, need_after), {}
  local room = rate.volume == 1 and volume_room(work, rate, funds.ignore_holds, free) or UNBOUNDED
  local units, by_buckets = most, 0
  for n = 1, #sources do
    if most <= 0 then break end
    local source = sources[n]
    local there = free and free[source.bucket] or free_units(funds, source)
    local take = min(most, there, room - by_buckets)
    if take > 0 then
      local at = #holds
      holds[at + 1], holds[at + 2] = source, take
      if free then free[source.bucket] = there == UNBOUNDED and there or there - take end
      most, by_buckets = most - take, by_buckets + take
    end
  end
  if free and rate.volume == 1 then leave_volume(work, leg, funds, free, by_buckets) end
  room = room - by_buckets
  local money = cost_of(session, credit_price(rate, rate.price, room), need - by_buckets)
  if after_switch then
    money = max(money, cost_of(session, credit_price(rate, after_switch, room), need_after - by_buckets))
  end
  return holds, money, most, units
end

-- Whether all legs together can hold a grant.
local function can_hold_all(work, item, sources, grant, funds)
  local service, free, left, rooms = item.service, {}, funds.money, {}
  local legs = service.legs
  for n = 1, #legs do
    local leg = legs[n]
    local holds, money, credit_units, units = plan_leg(work, item, leg, sources[n], grant, free, funds)
    if not holds then return false end
    left = left - money
    local counters = counters_of(work, rate_of(leg))
    for m = 1, #counters do
      local counter = counters[m]
      if counter then
        local id, amount = counter.id, counter_amount(counter, money, credit_units, units)
        rooms[id] = (rooms[id] or counter_room(funds, counter)) - amount
        if rooms[id] < 0 and amount > 0 then return false end
      end
    end
  end
  return left >= 0
end

-- Largest grant up to `upto` that all legs can hold. For one leg it is computed, for several found by bisection.
local function largest_grant(work, item, sources, upto, funds)
  local service = item.service
  local legs = service.legs
  if #legs == 1 then return min(upto, room_of_leg(work, item, legs[1], sources[1], funds, upto)) end
  if upto <= 0 then return 0 end
  if can_hold_all(work, item, sources, upto, funds) then return upto end
  local low, high = 0, upto
  while high - low > 1 do
    local middle = idiv(low + high, 2)
    if can_hold_all(work, item, sources, middle, funds) then low = middle else high = middle end
  end
  return low
end

local function hold_grant(work, item, sources, grant, funds)
  local account, service = work.account, item.service
  local legs = service.legs
  for n = 1, #legs do
    local leg = legs[n]
    local planned, money, credit_units, units = plan_leg(work, item, leg, sources[n], grant, nil, funds)
    local holds = {}
    for m = 1, #planned, 2 do
      local source, take = planned[m], planned[m + 1]
      local bucket = source.bucket
      local hold = new_hold()
      hold.instance, hold.units, hold.pooled = bucket.instance, take, source.pooled
      holds[#holds + 1] = hold
      change_held(work, bucket, source.pooled, take)
    end
    leg.holds, leg.held = holds, money
    account.held = account.held + money
    hold_counters(work, leg, money, credit_units, units)
  end
end
