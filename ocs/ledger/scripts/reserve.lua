-- Step 6: hold what is wanted next: the least of what is wanted, what buckets and credit pay, what counters leave, what the quota policy allows,
-- a fair share when it is scarce.

local SMALL_CHANGE = 100000 -- micro-EUR: so much of a scarce rest is granted at once, lest it be halved without end
local SCARCE_S = 60 -- so long after a request got nothing while others held what it lacked, room is left for others

local function barred(w, bars)
  local account = w.account
  if account.bars == '' or bars == '' then return false end
  local set = ',' .. account.bars .. ','
  for bar in string.gmatch(bars, '[^,]+') do
    if string.find(set, ',' .. bar .. ',', 1, true) then return true end
  end
  return false
end

local function refusal(w, asked)
  if asked.always == 1 then return nil end
  if state_at(w.account, w.now) ~= 'a' then return 4010, 'state' end
  if barred(w, asked.bars) then return 4010, 'bar' end
end

-- Subscriptions that wait for their first use begin when one of their buckets may pay and the credit covers them (HOT-PKG-13).
local function start_armed(w, legs)
  local request, account = w.request, w.account
  if account.armed == 0 then return end
  local list, started = {unpack(subscriptions_of(w))}, false
  for n = 1, #list do
    local subscription = list[n]
    if subscription.state == 'armed' then
      local terms = subscription.terms
      local buckets, wanted = terms.buckets, false
      for m = 1, #buckets do
        local included = buckets[m]
        for k = 1, #legs do
          local rate = rate_of(legs[k])
          wanted = wanted or string.find(rate.buckets, ',' .. included.id .. ',', 1, true)
        end
      end
      if wanted and can_pay(w, terms) then
        pay_fee(w, subscription, w.now)
        started = true
      end
    end
  end
  if started then claim_holds(w, request.session_id) end
end

-- Another service of the session has a grant at the same rate: the step begun is paid once and may be used by either, so it is not
-- given to both.
local function step_is_shared(w, own, price)
  local session = w.session
  if not w.several then return false end
  for _, neighbour in pairs(session.services) do
    if neighbour ~= own and neighbour.granted > 0 then
      local legs = neighbour.legs
      for n = 1, #legs do
        local rate = rate_of(legs[n])
        local next_price, later = rate.price, rate.price_after
        if same_rate(next_price.id, price.id) then return true end
        if later and neighbour.spans == 1 and neighbour.switch_at > 0 then
          next_price = later
          if same_rate(next_price.id, price.id) then return true end
        end
      end
    end
  end
  return false
end

-- Raw units that count as used at a rate: the rest of a step is granted only if the step was paid, and not to two. UNBOUNDED: nothing more.
local function counted_raw(w, item, price)
  local raw, unpaid = used_at_rate(w.session, price)
  if price.flat == 1 then return unpaid and UNBOUNDED or raw end
  if unpaid or step_is_shared(w, item.service, price) then return billable(price, raw) end
  return raw
end

-- The price from a switch on that a grant may also be used at (RFC 8506 §5.1.1); false = there is none.
local function later_price(service, rate) return service.spans == 1 and service.switch_at > 0 and rate.price_after end

-- What there is to reserve from. `unheld`: as if nobody of the account held anything; `uncounted`: as if there were no counters.
local function means_of(w, unheld, uncounted, maximum)
  local account = w.account
  local money = unheld and account.credit or money_free(account)
  return {money = min(money, maximum or UNBOUNDED), unheld = unheld, uncounted = uncounted}
end

local function free_in(means, item)
  local bucket = item.bucket
  if bucket.left < 0 then return UNBOUNDED end
  if means.unheld and item.pooled == 0 then return bucket.left end
  return max(bucket.left - bucket.held, 0)
end

local function counter_room(means, counter)
  if means.uncounted or counter.limit < 0 then return UNBOUNDED end
  return max(counter.limit - counter.value - (means.unheld and 0 or counter.held), 0)
end

-- The least room of the counters that a leg moves: money, units paid by credit, units.
local function counter_rooms(w, leg, means)
  local account, rate = w.account, rate_of(leg)
  local ids = rate.counters
  local money, credit_units, units = UNBOUNDED, UNBOUNDED, UNBOUNDED
  for n = 1, #ids do
    local counter = find_counter(account, ids[n])
    if counter and counter.limit >= 0 then
      local room = counter_room(means, counter)
      if counter.measure == 'money' then
        money = min(money, room)
      elseif counter.measure == 'units' then
        units = min(units, room)
      else
        credit_units = min(credit_units, room)
      end
    end
  end
  return money, credit_units, units
end

-- How many raw units more a price allows.
local function room_at(w, item, price, in_buckets, money, credit_units, most_units)
  local raw, units = counted_raw(w, item, price), in_buckets
  if raw == UNBOUNDED then return 0 end
  if units < UNBOUNDED then
    units = min(units + min(affordable(price, paid_at(w.session, price), money), credit_units), UNBOUNDED)
  end
  return raw_room(price, raw, min(units, most_units))
end

-- How many raw units more a leg allows.
local function room_of_leg(w, item, leg, found, means)
  local in_buckets = 0
  for n = 1, #found do in_buckets = min(in_buckets + free_in(means, found[n]), UNBOUNDED) end
  local money, credit_units, most_units = counter_rooms(w, leg, means)
  money = min(money, means.money)
  local rate = rate_of(leg)
  local room, later = room_at(w, item, rate.price, in_buckets, money, credit_units, most_units), later_price(item.service, rate)
  if later then room = min(room, room_at(w, item, later, in_buckets, money, credit_units, most_units)) end
  return room
end

-- Billable units that a grant needs at a price; nil = nothing at all is granted.
local function need_at(w, item, price, grant)
  local raw = counted_raw(w, item, price)
  if raw == UNBOUNDED then return nil end
  return billable(price, raw + grant) - billable(price, raw)
end

local function cost_of(session, price, units)
  if units <= 0 then return 0 end
  local paid = paid_at(session, price)
  return cost(price, paid + units) - cost(price, paid)
end

-- What a leg would hold for a grant, at the dearer side of a switch: holds (item, units, …), money, units by credit, units; nil = nothing at
-- all is granted. `free` (or nil): what is left of buckets that legs before it plan to hold.
local function plan_leg(w, item, leg, found, grant, free, means)
  local rate, session = rate_of(leg), w.session
  local later = later_price(item.service, rate)
  local need, later_need = need_at(w, item, rate.price, grant), 0
  if later then later_need = need_at(w, item, later, grant) end
  if not need or not later_need then return nil end
  local most, holds = max(need, later_need), {}
  local units, by_buckets = most, 0
  for n = 1, #found do
    if most <= 0 then break end
    local item = found[n]
    local there = free and free[item.bucket] or free_in(means, item)
    local take = min(most, there)
    if take > 0 then
      local at = #holds
      holds[at + 1], holds[at + 2] = item, take
      if free then free[item.bucket] = there == UNBOUNDED and there or there - take end
      most, by_buckets = most - take, by_buckets + take
    end
  end
  local money = cost_of(session, rate.price, need - by_buckets)
  if later then money = max(money, cost_of(session, later, later_need - by_buckets)) end
  return holds, money, most, units
end

-- Whether all legs together can hold a grant.
local function is_possible(w, item, found, grant, means)
  local account, service, free, left, rooms = w.account, item.service, {}, means.money, {}
  local legs = service.legs
  for n = 1, #legs do
    local leg = legs[n]
    local holds, money, credit_units, units = plan_leg(w, item, leg, found[n], grant, free, means)
    if not holds then return false end
    left = left - money
    local rate = rate_of(leg)
    local ids = rate.counters
    for m = 1, #ids do
      local counter = find_counter(account, ids[m])
      if counter then
        local amount = moved_by(counter, money, credit_units, units)
        rooms[ids[m]] = (rooms[ids[m]] or counter_room(means, counter)) - amount
        if rooms[ids[m]] < 0 and amount > 0 then return false end
      end
    end
  end
  return left >= 0
end

-- The largest grant up to `upto` that all legs can hold together. One leg's is computed, that of several is sought.
local function most_of(w, item, found, upto, means)
  local service = item.service
  local legs = service.legs
  if #legs == 1 then return min(upto, room_of_leg(w, item, legs[1], found[1], means)) end
  if upto <= 0 then return 0 end
  if is_possible(w, item, found, upto, means) then return upto end
  local low, high = 0, upto
  while high - low > 1 do
    local middle = idiv(low + high, 2)
    if is_possible(w, item, found, middle, means) then low = middle else high = middle end
  end
  return low
end

local function hold(w, item, found, grant, means)
  local account, service = w.account, item.service
  local legs = service.legs
  for n = 1, #legs do
    local leg = legs[n]
    local planned, money, credit_units, units = plan_leg(w, item, leg, found[n], grant, nil, means)
    local holds = {}
    for m = 1, #planned, 2 do
      local item, take = planned[m], planned[m + 1]
      local bucket = item.bucket
      local hold = new_hold()
      hold.instance, hold.units, hold.pooled = bucket.instance, take, item.pooled
      holds[#holds + 1] = hold
      change_held(w, bucket, item.pooled, take)
    end
    leg.holds, leg.held = holds, money
    account.held = account.held + money
    hold_counters(w, leg, money, credit_units, units)
  end
end

-- Whether others of the account hold what `wanted` raw units lack: then room is left for it next time.
local function note_scarcity(w, item, found, wanted)
  if most_of(w, item, found, wanted, means_of(w, true, false)) >= wanted then w.account.scarce_until = w.now + SCARCE_S end
end

-- Returns granted, whether they are the last, the reason for less.
local function reserve_item(w, item, want)
  local asked, service, one_off = item.asked, item.service, w.request_is_event
  local legs, found, means, competing = service.legs, {}, means_of(w), one_off and 1 or w.open_sessions
  if not one_off and w.now < w.account.scarce_until then competing = max(competing, 2) end
  for n = 1, #legs do found[n] = usable_buckets(w, legs[n]) end
  local room = most_of(w, item, found, min(want * competing, UNBOUNDED), means)
  local grant = min(want, room)
  -- The minimum beats the share only as far as SMALL_CHANGE pays it, and never the policy's money. It is the last resort where either grants nothing.
  if competing > 1 and room < want * competing then
    local cheap = most_of(w, item, found, min(asked.minimum, room), means_of(w, false, false, SMALL_CHANGE))
    local share = max(idiv(room, competing), cheap)
    grant = min(grant, share > 0 and share or asked.minimum)
  end
  if asked.maximum > 0 and not one_off then
    local modest = most_of(w, item, found, grant, means_of(w, false, false, asked.maximum))
    grant = min(grant, modest > 0 and modest or asked.minimum)
  end
  local final, reason = grant == room and room < want, ''
  if (final or grant <= 0) and room < want then
    reason = most_of(w, item, found, room + 1, means_of(w, false, true)) > room and 'limit' or 'credit'
  end
  if grant < min(want, one_off and want or 1) then note_scarcity(w, item, found, one_off and want or 1) end
  if grant <= 0 then return 0, false, reason end
  hold(w, item, found, grant, means)
  service.granted = grant
  return grant, final, reason
end

-- What a service that gets nothing for want of money is told: a restricted phase (RFC 8506 §5.6.2), or no.
local function nothing(item)
  local asked, service, line = item.asked, item.service, item.line
  if asked.restrict == 0 or (asked.restrict == 1 and service.phase == RESTRICTED) then
    line.code, service.phase = 4012, REFUSED
  else
    line.restricted, service.phase = true, RESTRICTED
  end
end

-- Raw units to try for; -1 = none are wanted.
local function wanted(item)
  local asked, service, line = item.asked, item.service, item.line
  if asked.want < 0 and asked.restrict > 0 and (service.phase == FINAL or service.phase == RESTRICTED) then
    -- Nothing used and nothing asked for: the phase is over, or we have asked; is there something again?
    if item.reported == 0 and asked.retry_want > 0 then return asked.retry_want end
    line.restricted, service.phase = true, RESTRICTED
  end
  return asked.want
end

-- What each service may have at all: its price and buckets are put in force; item.want, -1 = nothing is to be reserved.
local function prepare(w, item)
  local request, asked, service, line = w.request, item.asked, item.service, item.line
  item.want = -1
  if not item.room then return end
  local want = wanted(item)
  service.deadline = request.deadline
  if want < 0 then return end
  local code, reason = refusal(w, asked)
  if code then
    line.code, line.reason = code, reason
    return
  end
  if not item.behind then
    service.legs, service.detail, service.always = fresh_legs(asked.legs, service.legs), asked.detail, asked.always
    service.switch_at, service.spans = asked.switch_at, asked.spans
  end
  item.want = want
end

local function reserve(w)
  local request = w.request
  if request.type == 'T' or w.closed then return end
  w.request_is_event = request.type == 'E'
  local items = w.items
  for n = 1, #items do prepare(w, items[n]) end
  for n = 1, #items do
    local item = items[n]
    local service = item.service
    if item.want > 0 then start_armed(w, service.legs) end
  end
  for n = 1, #items do
    local item = items[n]
    local asked, service, line = item.asked, item.service, item.line
    if item.want >= 0 then
      line.granted, line.final, line.reason = reserve_item(w, item, item.want)
      if not w.request_is_event and not (line.granted == 0 and item.want > 0) then
        service.phase = line.final and FINAL or NORMAL
        -- Time that begins to be granted passes from now on.
        if asked.unit == 'seconds' and item.reported == 0 and item.granted == 0 and not w.overtaken then
          service.reported_until = max(service.reported_until, w.now)
        end
        line.span_switch = service.switch_at > w.now and service.spans == 1
      elseif not w.request_is_event then
        nothing(item)
      end
    end
  end
end
