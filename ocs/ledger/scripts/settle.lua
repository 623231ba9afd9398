-- Step 4: pay for what was used, on each leg: by the buckets that granted it, by other buckets (HOT-PKG-3), by credit
-- as far as there is some.

local SLACK_S = 60 -- a client's clock may be ahead of ours by this
local OCTETS_SLACK_S = 5 -- tolerance for reports that follow each other at once, at the fastest rate
local MESSAGES_SLACK = 255 -- parts of one long message beyond the grant

-- Raw units of the report that are possible: before a price switch, after it, straddling it. Of an impossible report
-- only what of the grant can have been used since the last report is charged; the rest is `dropped`. Seconds: no more
-- than have passed; octets: no faster than `max_rate`; messages: no more than granted; money: not checked.
local function possible_use(work, item)
  local requested, service, result = item.requested, item.service, item.result
  local before, after, straddling = requested.used, requested.used_after, requested.used_either
  local reported, rate, possible = before + after + straddling, requested.max_rate, nil
  if requested.unit == 'messages' then
    if reported <= item.granted + MESSAGES_SLACK then return before, after, straddling end
    possible = item.granted
  else
    local slack = OCTETS_SLACK_S
    if requested.unit == 'seconds' then rate, slack = 1, SLACK_S end
    if rate == 0 then return before, after, straddling end
    local since = max(work.now - service.reported_until, 0)
    if reported <= item.granted + (since + slack) * rate then return before, after, straddling end
    possible = min(item.granted, since * rate)
  end
  local excess = reported - possible
  result.dropped = excess
  local cut = min(excess, before)
  before, excess = before - cut, excess - cut
  cut = min(excess, straddling)
  straddling, excess = straddling - cut, excess - cut
  return before, after - min(excess, after), straddling
end

-- Use before and after the price switch of the grant in force. The client says which; what straddles the switch has the
-- cheaper price. Seconds that the client did not split are split by the clock (RFC 8506 §5.1.1).
local function by_switch(work, item, price, next_price, before, after, straddling)
  local requested, service = item.requested, item.service
  if service.switch_at > 0 and service.spans == 0 and requested.unit == 'seconds' and after + straddling == 0 then
    after = min(before, max(min(service.reported_until + before, work.now) - service.switch_at, 0))
    before = before - after
  end
  if next_price.id == price.id then return before + straddling + after, 0 end
  if next_price.num * price.den < price.num * next_price.den then return before, straddling + after end
  return before + straddling, after
end

local function debit_credit(work, session, tally, price, units)
  local account, paid = work.account, paid_at(session, price)
  local debit = cost(price, paid + units) - cost(price, paid)
  tally.credit_units, tally.debit = tally.credit_units + units, tally.debit + debit
  local before, promotional = account.credit, take_credit(work, debit)
  account.spent, session.cost = account.spent + debit, session.cost + debit
  tally.promotional = tally.promotional + promotional
  work.debit, work.promotional = work.debit + debit, work.promotional + promotional
  note_low_credit(work, before)
  return debit
end

-- Pay by the bucket instances that had granted the use, even if their period is over. Returns the units still to be
-- paid.
local function pay_by_grant(work, granted_by, pay, units)
  for n = 1, #granted_by do
    if units == 0 then break end
    local id, instance, pooled, had = unpack(granted_by[n])
    local account, pool = work.account, work.pool
    local bucket = find_instance(pooled == 1 and pool.buckets or account.buckets, instance)
    local take = min(units, had)
    if bucket.left >= 0 then take = min(take, bucket.left - bucket.held) end
    if take > 0 then
      take_units(work, bucket, pooled, take)
      units, granted_by[n][4] = units - pay(id, take, instance, pooled), had - take
    end
  end
  return units
end

-- Legs of other services of the session that have a grant at the same price and buckets. A client may use such grants
-- together, and report on one service only (credit pools, RFC 8506 §5.1.2).
local function other_grants(work, own, buckets, price)
  local session, found = work.session, {}
  local keys = sorted_keys(session.services)
  for n = 1, #keys do
    local other_service = session.services[keys[n]]
    if other_service ~= own and other_service.granted > 0 then
      local legs = other_service.legs
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

local function pay_by_other_units(work, legs, pay, units)
  for n = 1, #legs do
    local leg = legs[n]
    local holds = leg.holds
    for m = 1, #holds do
      local hold = holds[m]
      local bucket, take = bucket_of(work, hold), min(units, hold.units)
      if bucket and take > 0 then
        change_held(work, bucket, hold.pooled, -take)
        take_units(work, bucket, hold.pooled, take)
        hold.units, units = hold.units - take, units - pay(bucket.id, take, bucket.instance, hold.pooled)
        release_measure(work, leg, 'units', take)
        release_measure(work, leg, 'bucket_units', take)
      end
    end
  end
  return units
end

local function pay_by_buckets(work, leg, pay, units)
  local sources = usable_buckets(work, leg)
  for n = 1, #sources do
    if units == 0 then break end
    local source = sources[n]
    local bucket, pooled, take = source.bucket, source.pooled, min(units, source.most)
    if bucket.left >= 0 then take = min(take, bucket.left - bucket.held) end
    if take > 0 then
      take_units(work, bucket, pooled, take)
      units = units - pay(bucket.id, take, bucket.instance, pooled)
    end
  end
  return units
end

local function pay_by_other_money(work, legs, tally, price, units)
  local account, session = work.account, work.session
  for n = 1, #legs do
    local leg = legs[n]
    local take = min(units, affordable(price, paid_at(session, price), leg.held))
    if take > 0 then
      local debit = debit_credit(work, session, tally, price, take)
      leg.held, account.held, units = leg.held - debit, account.held - debit, units - take
      release_measure(work, leg, 'money', debit)
      release_measure(work, leg, 'units', take)
      release_measure(work, leg, 'credit_units', take)
    end
  end
  return units
end

-- Pay by buckets: those that granted it, those of other grants, any other. Returns the units still to be paid, and how
-- many units buckets may still pay (volume_room).
local function pay_units(work, item, leg, rate, price, units, granted_by, pay)
  local room = rate.volume == 1 and volume_room(work, rate) or UNBOUNDED
  if units == 0 or (rate.buckets == '' and #granted_by == 0) then return units, room end
  local owed, beyond = units, max(units - room, 0)
  units = pay_by_grant(work, granted_by, pay, units - beyond) + beyond
  room = room - (owed - units)
  if units > 0 and work.several_services then
    units = pay_by_other_units(work, other_grants(work, item.service, rate.buckets, price), pay, units)
  end
  if units > 0 then
    local before
    before, beyond = units, max(units - room, 0)
    units = pay_by_buckets(work, leg, pay, units - beyond) + beyond
    room = room - (before - units)
  end
  return units, room
end

-- Pay by credit that is free, then by money that other grants hold. Returns the units paid.
local function pay_money(work, item, leg, tally, price, rate_price, units)
  local account, session, rate = work.account, work.session, rate_of(leg)
  local by_credit = min(units, affordable(price, paid_at(session, price), money_free(account)))
  if by_credit > 0 then debit_credit(work, session, tally, price, by_credit) end
  local left = units - by_credit
  if left > 0 and work.several_services then
    left = pay_by_other_money(work, other_grants(work, item.service, rate.buckets, rate_price), tally, price, left)
  end
  return units - left
end

-- Pay `used` raw units of a leg at `price`. Adds to item.counter_moves by what its counters move (step 5). Returns the
-- price for credit, the units that it had paid at this price in the session (of a one-off debit), and those paid now.
local function settle_leg(work, item, leg, price, used, granted_by)
  local requested, session, result = item.requested, work.session, item.result
  local rate = rate_of(leg)
  local detail = item.at_request_price and requested.detail or item.detail
  local tally = tally_for(session, requested.key, rate.label, price, detail)
  local raw = used_at_rate(session, price)
  local owed, before = billable(price, raw + used) - billable(price, raw), work.debit
  tally.used = tally.used + used
  local function pay(bucket_id, take, instance, pooled)
    add_units(tally, bucket_id, take)
    local from = pooled == 1 and work.account.pool or ''
    if item.paid_by then item.paid_by[#item.paid_by + 1] = {bucket_id, take, instance, pooled, from} end
    return take
  end
  local units, room = pay_units(work, item, leg, rate, price, owed, granted_by, pay)
  local by_buckets, by_credit, for_credit = owed - units, 0, rate.beyond and credit_price(rate, price, room) or price
  local paid_before = item.paid_by and paid_at(session, for_credit)
  if rate.volume == 1 then note_volume(work, rate, by_buckets) end
  if units > 0 then
    if for_credit ~= price then -- what is beyond a volume has a tally of its own
      local beyond = min(used, units)
      tally.used = tally.used - beyond
      tally = tally_for(session, requested.key, rate.label, for_credit, detail)
      tally.used = tally.used + beyond
    end
    by_credit = pay_money(work, item, leg, tally, for_credit, price, units)
    units = units - by_credit
  end
  tally.overrun = tally.overrun + units
  if owed > 0 then mark_unpaid_step(session, tally, units > 0 and 1 or 0) end
  result.debited_micro_eur = result.debited_micro_eur + work.debit - before
  result.debited_units, result.overrun_units = result.debited_units + by_buckets, result.overrun_units + units
  item.counter_moves[#item.counter_moves + 1] = {leg, work.debit - before, by_credit, by_buckets + by_credit}
  return for_credit, paid_before, by_credit
end

local function settle_item(work, item)
  local requested, service, result = item.requested, item.service, item.result
  local before, after, straddling = possible_use(work, item)
  local legs = item.at_request_price and fresh_legs(requested.legs, service.legs) or service.legs
  item.detail = service.detail
  for n = 1, #legs do
    local leg = legs[n]
    local rate = rate_of(leg)
    local price, after_switch = rate.price, not item.at_request_price and service.switch_at > 0 and rate.price_after
    local next_price = after_switch or price
    local first, rest = by_switch(work, item, price, next_price, before, after, straddling)
    if first > 0 then settle_leg(work, item, leg, price, first, item.granted_by[n] or {}) end
    if rest > 0 then settle_leg(work, item, leg, next_price, rest, item.granted_by[n] or {}) end
  end
  if result.dropped > 0 then
    local rate, session = rate_of(legs[1]), work.session
    local detail = item.at_request_price and requested.detail or item.detail
    local tally = tally_for(session, requested.key, rate.label, rate.price, detail)
    tally.dropped = tally.dropped + result.dropped
  end
  local charged = before + after + straddling
  service.reported_until = requested.unit == 'seconds' and service.reported_until + charged or work.now
end

local function settle(work)
  local request = work.request
  for n = 1, #work.items do
    local item = work.items[n]
    local requested, service = item.requested, item.service
    item.counter_moves = {}
    item.reported = requested.used + requested.used_after + requested.used_either
    if request.type == 'U' and not work.kept_apart then service.number = max(service.number, request.number) end
    if item.reported > 0 and request.type ~= 'E' then settle_item(work, item) end
  end
end
