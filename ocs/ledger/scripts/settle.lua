-- Step 4: what was used is paid, on each leg: by what had granted it, by included units (HOT-PKG-3), by credit as far as there is money.

local SLACK_S = 60 -- time may be so much ahead of our clock before a report of it counts as impossible
local OCTETS_SLACK_S = 5 -- reports that follow each other at once, at the fastest rate there is
local MESSAGES_SLACK = 255 -- parts of one long message beyond what was granted

-- A report that cannot be true tells nothing: what of the grant can have been used since the last report is charged, the rest is dropped and
-- said. Time passes a second a second, so the time reported must end before now; of octets there is a fastest rate; of messages
-- nothing but the grant. Money may be used at once. Returns raw units used before a price switch, after it, on either side.
local function possible_use(w, item)
  local asked, service, line = item.asked, item.service, item.line
  local before, after, either = asked.used, asked.used_after, asked.used_either
  local reported, rate, could = before + after + either, asked.max_rate, nil
  if asked.unit == 'messages' then
    if reported <= item.granted + MESSAGES_SLACK then return before, after, either end
    could = item.granted
  else
    local slack = OCTETS_SLACK_S
    if asked.unit == 'seconds' then rate, slack = 1, SLACK_S end
    if rate == 0 then return before, after, either end
    local since = max(w.now - service.reported_until, 0)
    if reported <= item.granted + (since + slack) * rate then return before, after, either end
    could = min(item.granted, since * rate)
  end
  local excess = reported - could
  line.dropped = excess
  local cut = min(excess, before)
  before, excess = before - cut, excess - cut
  cut = min(excess, either)
  either, excess = either - cut, excess - cut
  return before, after - min(excess, after), either
end

-- Use before and after the price switch of the grant in force: as the client says, what straddles it at the cheaper side; of time, which
-- passes by itself, as the clock says (RFC 8506 §5.1.1).
local function by_switch(w, item, price, next_price, before, after, either)
  local asked, service = item.asked, item.service
  if service.switch_at > 0 and service.spans == 0 and asked.unit == 'seconds' and after + either == 0 then
    after = min(before, max(min(service.reported_until + before, w.now) - service.switch_at, 0))
    before = before - after
  end
  if next_price.id == price.id then return before + either + after, 0 end
  if next_price.num * price.den < price.num * next_price.den then return before, either + after end
  return before + either, after
end

local function debit_credit(w, session, tally, price, units)
  local account, paid = w.account, paid_at(session, price)
  local debit = cost(price, paid + units) - cost(price, paid)
  tally.credit_units, tally.debit = tally.credit_units + units, tally.debit + debit
  account.credit, account.spent, session.cost = account.credit - debit, account.spent + debit, session.cost + debit
  w.taken = w.taken + debit
  return debit
end

-- What had granted the use: instances of buckets, also of a period that is over. Returns the units that are still owed.
local function pay_by_grant(w, paid_back, pay, units)
  for n = 1, #paid_back do
    if units == 0 then break end
    local id, instance, pooled, had = unpack(paid_back[n])
    local account, pool = w.account, w.pool
    local bucket = find_instance(pooled == 1 and pool.buckets or account.buckets, instance)
    local take = min(units, had)
    if bucket.left >= 0 then take = min(take, bucket.left - bucket.held) end
    if take > 0 then
      take_units(w, bucket, pooled, take)
      units, paid_back[n][4] = units - pay(id, take, instance, pooled), had - take
    end
  end
  return units
end

-- Other services of the session with a grant at the same price and buckets: the client may use their grants together (credit pools, RFC
-- 8506 §5.1.2), and one of them may report alone.
local function neighbours_of(w, own, buckets, price)
  local session, found = w.session, {}
  local keys = sorted_keys(session.services)
  for n = 1, #keys do
    local neighbour = session.services[keys[n]]
    if neighbour ~= own and neighbour.granted > 0 then
      local legs = neighbour.legs
      for m = 1, #legs do
        local next_leg = legs[m]
        local rate = rate_of(next_leg)
        local next_price = rate.price
        if next_price.id == price.id and rate.buckets == buckets then found[#found + 1] = next_leg end
      end
    end
  end
  return found
end

local function pay_by_neighbours_units(w, legs, pay, units)
  for n = 1, #legs do
    local leg = legs[n]
    local holds = leg.holds
    for m = 1, #holds do
      local hold = holds[m]
      local bucket, take = bucket_of(w, hold), min(units, hold.units)
      if bucket and take > 0 then
        change_held(w, bucket, hold.pooled, -take)
        take_units(w, bucket, hold.pooled, take)
        hold.units, units = hold.units - take, units - pay(bucket.id, take, bucket.instance, hold.pooled)
        release_measure(w, leg, 'units', take)
      end
    end
  end
  return units
end

local function pay_by_buckets(w, leg, pay, units)
  local found = usable_buckets(w, leg)
  for n = 1, #found do
    if units == 0 then break end
    local item = found[n]
    local bucket, pooled, take = item.bucket, item.pooled, units
    if bucket.left >= 0 then take = min(units, bucket.left - bucket.held) end
    if take > 0 then
      take_units(w, bucket, pooled, take)
      units = units - pay(bucket.id, take, bucket.instance, pooled)
    end
  end
  return units
end

local function pay_by_neighbours_money(w, legs, tally, price, units)
  local account, session = w.account, w.session
  for n = 1, #legs do
    local leg = legs[n]
    local take = min(units, affordable(price, paid_at(session, price), leg.held))
    if take > 0 then
      local debit = debit_credit(w, session, tally, price, take)
      leg.held, account.held, units = leg.held - debit, account.held - debit, units - take
      release_measure(w, leg, 'money', debit)
      release_measure(w, leg, 'units', take)
      release_measure(w, leg, 'credit_units', take)
    end
  end
  return units
end

-- Pay `used` raw units of a leg at `price`. `item.moved[leg]` says by what its counters move (step 5).
local function settle_leg(w, item, leg, price, used, paid_back)
  local asked, account, session, line = item.asked, w.account, w.session, item.line
  local rate = rate_of(leg)
  local tally = tally_for(session, asked.key, rate.label, price, item.own and asked.detail or item.detail)
  local raw = used_at_rate(session, price)
  local owed = billable(price, raw + used) - billable(price, raw)
  local units, before = owed, w.taken
  tally.used = tally.used + used
  local function pay(bucket_id, take, instance, pooled)
    add_units(tally, bucket_id, take)
    if item.paid_by then item.paid_by[#item.paid_by + 1] = {bucket_id, take, instance, pooled} end
    return take
  end
  if units > 0 and (rate.buckets ~= '' or #paid_back > 0) then
    units = pay_by_grant(w, paid_back, pay, units)
    if units > 0 and w.several then units = pay_by_neighbours_units(w, neighbours_of(w, item.service, rate.buckets, price), pay, units) end
    if units > 0 then units = pay_by_buckets(w, leg, pay, units) end
  end
  local by_buckets, by_credit = owed - units, 0
  if units > 0 then
    by_credit = min(units, affordable(price, paid_at(session, price), money_free(account)))
    if by_credit > 0 then debit_credit(w, session, tally, price, by_credit) end
    local left = units - by_credit
    if left > 0 and w.several then
      left = pay_by_neighbours_money(w, neighbours_of(w, item.service, rate.buckets, price), tally, price, left)
      by_credit = units - left
    end
    units = left
  end
  tally.overrun = tally.overrun + units
  if owed > 0 then mark_step(session, tally, units > 0 and 1 or 0) end
  line.debited_micro_eur = line.debited_micro_eur + w.taken - before
  line.debited_units, line.overrun_units = line.debited_units + by_buckets, line.overrun_units + units
  item.moved[#item.moved + 1] = {leg, w.taken - before, by_credit, by_buckets + by_credit}
end

local function settle_item(w, item)
  local asked, service, line = item.asked, item.service, item.line
  local before, after, either = possible_use(w, item)
  local legs = item.own and fresh_legs(asked.legs, service.legs) or service.legs
  item.detail = service.detail
  for n = 1, #legs do
    local leg = legs[n]
    local rate = rate_of(leg)
    local price, later = rate.price, not item.own and service.switch_at > 0 and rate.price_after
    local next_price = later or price
    local first, rest = by_switch(w, item, price, next_price, before, after, either)
    if first > 0 then settle_leg(w, item, leg, price, first, item.paid_back[n] or {}) end
    if rest > 0 then settle_leg(w, item, leg, next_price, rest, item.paid_back[n] or {}) end
  end
  if line.dropped > 0 then
    local rate, session = rate_of(legs[1]), w.session
    local tally = tally_for(session, asked.key, rate.label, rate.price, item.own and asked.detail or item.detail)
    tally.dropped = tally.dropped + line.dropped
  end
  service.reported_until = asked.unit == 'seconds' and service.reported_until + before + after + either or w.now
end

local function settle(w)
  local request = w.request
  w.several = count_services(w.session) > 1
  for n = 1, #w.items do
    local item = w.items[n]
    local asked, service = item.asked, item.service
    item.moved = {}
    item.reported = asked.used + asked.used_after + asked.used_either
    if request.type == 'U' and not w.apart then service.number = max(service.number, request.number) end
    if item.reported > 0 and request.type ~= 'E' then settle_item(w, item) end
  end
end
