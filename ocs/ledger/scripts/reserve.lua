-- Step 6: hold what is wanted next: the least of what is wanted, what buckets and credit pay, what counters leave, what the quota policy allows,
-- a fair share when it is scarce.

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

-- A subscription that waits for its first use begins when one of its buckets may pay and the credit covers it (HOT-PKG-13).
local function start_armed(w, legs)
  local account = w.account
  local list = account.subscriptions
  for n = 1, #list do
    local subscription = list[n]
    local terms = subscription and subscription.terms
    if subscription and subscription.state == 'armed' and can_pay(w, terms) then
      local buckets = terms.buckets
      for m = 1, #buckets do
        local included = buckets[m]
        local id = ',' .. included.id .. ','
        for k = 1, #legs do
          local leg = legs[k]
          if subscription.state == 'armed' and string.find(leg.buckets, id, 1, true) then pay_fee(w, subscription, w.now) end
        end
      end
    end
  end
end

-- Another service of the session has a grant at the same rate: the step begun is paid once and may be used by either, so it is not
-- given to both.
local function step_is_shared(w, own, price)
  local session = w.session
  if not w.several or price.flat == 1 then return false end
  for _, neighbour in pairs(session.services) do
    if neighbour ~= own and neighbour.granted > 0 then
      local legs = neighbour.legs
      for n = 1, #legs do
        local leg = legs[n]
        local next_price, later = leg.price, leg.price_after
        if same_rate(next_price.id, price.id) then return true end
        if later and neighbour.switch_at > 0 then
          next_price = later
          if same_rate(next_price.id, price.id) then return true end
        end
      end
    end
  end
  return false
end

-- The least room of the counters that a leg moves: money, units paid by credit, units; and the id of the counter that bounds money.
local function counter_rooms(w, leg)
  local account, ids = w.account, leg.counters
  local money, credit_units, units = UNBOUNDED, UNBOUNDED, UNBOUNDED
  for n = 1, #ids do
    local counter = find_counter(account, ids[n])
    if counter then
      local room = room_of(counter)
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

local function free_units(found)
  local units = 0
  for n = 1, #found do
    local item = found[n]
    local bucket = item.bucket
    if bucket.left < 0 then return UNBOUNDED end
    units = units + bucket.left - bucket.held
  end
  return units
end

-- How many raw units more `price` allows with what buckets, money and counters there are; the raw units that count as used, and those that
-- credit paid.
local function allowed(w, item, price, in_buckets, money, credit_units, most_units)
  local session = w.session
  local raw, unpaid = used_at_rate(session, price)
  local paid = paid_at(session, price)
  -- The rest of a step begun is granted only if the step was paid.
  if unpaid or step_is_shared(w, item.service, price) then raw = billable(price, raw) end
  local units = in_buckets
  if units < UNBOUNDED then units = min(units + min(affordable(price, paid, money), credit_units), UNBOUNDED) end
  return raw_room(price, raw, min(units, most_units)), raw, paid
end

-- The prices at which a grant may be used: over a price switch both (RFC 8506 §5.1.1).
local function prices_of(item, leg)
  local asked = item.asked
  if leg.price_after and asked.switch_at > 0 and asked.spans == 1 then return {leg.price, leg.price_after} end
  return {leg.price}
end

-- What one leg may have: raw units with all the money, raw units with the quota policy's money, and the reason for less.
local function room_of_leg(w, item, leg, found, money)
  local asked, reason = item.asked, 'credit'
  local in_buckets = free_units(found)
  local most_money, credit_units, most_units = counter_rooms(w, leg)
  if in_buckets < UNBOUNDED and most_money < money then money, reason = most_money, 'limit' end
  local room, modest = UNBOUNDED, UNBOUNDED
  local prices = prices_of(item, leg)
  for n = 1, #prices do
    room = min(room, (allowed(w, item, prices[n], in_buckets, money, credit_units, most_units)))
    if asked.maximum > 0 then
      modest = min(modest, (allowed(w, item, prices[n], in_buckets, min(money, asked.maximum), credit_units, most_units)))
    end
  end
  if reason == 'credit' and room < asked.want then
    local with_more = allowed(w, item, prices[1], in_buckets, UNBOUNDED, credit_units, most_units)
    if with_more <= room then reason = 'limit' end
  end
  return room, modest, reason
end

-- Hold a grant of `grant` raw units on a leg, at the dearer side of a switch. With `try` nothing is kept: returns the money that it takes.
local function hold_leg(w, item, leg, grant, found, try)
  local account, session = w.account, w.session
  local needs, prices, most = {}, prices_of(item, leg), 0
  for n = 1, #prices do
    local price = prices[n]
    local raw, unpaid = used_at_rate(session, price)
    if unpaid or step_is_shared(w, item.service, price) then raw = billable(price, raw) end
    needs[n] = billable(price, raw + grant) - billable(price, raw)
    most = max(most, needs[n])
  end
  local holds, units = {}, most
  for n = 1, #found do
    if most <= 0 then break end
    local item = found[n]
    local bucket, take = item.bucket, most
    if bucket.left >= 0 then take = min(most, bucket.left - bucket.held) end
    if take > 0 then
      if not try then
        local hold = new_hold()
        hold.instance, hold.units, hold.pooled = bucket.instance, take, item.pooled
        holds[#holds + 1] = hold
        change_held(w, bucket, item.pooled, take)
      end
      most = most - take
      for m = 1, #needs do needs[m] = needs[m] - take end
    end
  end
  local money = 0
  for n = 1, #prices do
    if needs[n] > 0 then
      local paid = paid_at(session, prices[n])
      money = max(money, cost(prices[n], paid + needs[n]) - cost(prices[n], paid))
    end
  end
  if try then return money end
  leg.holds, leg.held = holds, money
  account.held = account.held + money
  hold_counters(w, leg, money, most, units)
  return money
end

-- Several legs draw on one credit: the largest grant that all can have together.
local function together(w, item, legs, found, grant)
  local account = w.account
  local low, high = 0, grant
  while low < high do
    local middle, money = low + idiv(high - low + 1, 2), 0
    for n = 1, #legs do money = money + hold_leg(w, item, legs[n], middle, found[n], true) end
    if money <= money_free(account) then low = middle else high = middle - 1 end
  end
  return low
end

-- Returns granted, whether they are the last, the reason for less.
local function reserve_item(w, item, want)
  local account, asked, service = w.account, item.asked, item.service
  local legs, found, room, modest, reason = service.legs, {}, UNBOUNDED, UNBOUNDED, ''
  for n = 1, #legs do
    local leg = legs[n]
    found[n] = usable_buckets(w, leg)
    local leg_room, leg_modest, why = room_of_leg(w, item, leg, found[n], money_free(account))
    if leg_room < room then room, reason = leg_room, why end
    modest = min(modest, leg_modest)
  end
  if #legs > 1 and room > 0 then
    local grant = together(w, item, legs, found, min(room, want))
    if grant < min(room, want) then room, reason = grant, 'credit' end
  end
  local grant, competing = min(want, room), w.competing
  if competing > 1 and room < want * competing then grant = min(grant, max(asked.minimum, idiv(room, competing))) end
  if modest < grant then grant = min(grant, max(modest, asked.minimum)) end
  if grant <= 0 then return 0, false, reason end
  for n = 1, #legs do hold_leg(w, item, legs[n], grant, found[n], false) end
  service.granted = grant
  if grant == room and room < want then return grant, true, reason end
  return grant, false, ''
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
  local want = asked.want
  if want < 0 and asked.restrict > 0 and (service.phase == FINAL or service.phase == RESTRICTED) then
    -- Nothing used and nothing asked for: the phase is over, or we have asked; is there something again?
    if item.reported == 0 and asked.retry_want > 0 then return asked.retry_want end
    line.restricted, service.phase = true, RESTRICTED
  end
  return want
end

local function put_in_force(item)
  local asked, service = item.asked, item.service
  service.legs, service.detail, service.switch_at, service.spans = fresh_legs(asked.legs), asked.detail, asked.switch_at, asked.spans
end

local function reserve(w)
  local request, account = w.request, w.account
  if request.type == 'T' or w.closed then return end
  w.competing = request.type == 'E' and 1 or w.open_sessions
  if w.competing == 1 and request.type ~= 'E' and w.now < account.scarce_until then w.competing = 2 end
  for n = 1, #w.items do
    local item = w.items[n]
    local asked, service, line = item.asked, item.service, item.line
    local want = item.room and wanted(item) or -1
    if want >= 0 then
      local code, reason = refusal(w, asked)
      if code then
        line.code, line.reason = code, reason
      else
        if not item.behind then put_in_force(item) end
        start_armed(w, service.legs)
        line.granted, line.final, line.reason = reserve_item(w, item, want)
        if line.granted == 0 and want > 0 then
          nothing(item)
        else
          service.phase = line.final and FINAL or NORMAL
          -- Time that begins to be granted passes from now on.
          if asked.max_rate == 1 and item.reported == 0 and item.granted == 0 and not w.overtaken then
            service.reported_until = max(service.reported_until, w.now)
          end
          if service.switch_at > w.now and service.spans == 1 then line.span_switch = true end
        end
      end
    end
    if item.room then service.deadline = request.deadline end
  end
end
