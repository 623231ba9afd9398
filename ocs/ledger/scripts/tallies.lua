-- A session's tallies: what each service has used at each price, and who paid. Use is rounded over them, and charging
-- records are made from them.

-- Raw units used in the session at a rate, and whether the last step is unpaid.
local function used_at_rate(session, price)
  local raw, unpaid, tallies = 0, false, session.tallies
  for n = 1, #tallies do
    local tally = tallies[n]
    if tally.price == price.id or same_rate(tally.price, price.id) then
      raw = raw + tally.used
      if tally.unpaid == 1 then unpaid = true end
    end
  end
  return raw, unpaid
end

-- Units that credit has paid in the session at a price.
local function paid_at(session, price)
  local paid, tallies = 0, session.tallies
  for n = 1, #tallies do
    local tally = tallies[n]
    if tally.price == price.id then paid = paid + tally.credit_units end
  end
  return paid
end

local function tally_for(session, key, label, price, detail)
  local tallies = session.tallies
  for n = 1, #tallies do
    local tally = tallies[n]
    if tally.key == key and tally.price == price.id then
      -- The first use of a new charging record sets its label and detail.
      if tally.used == tally.recorded and tally.dropped == 0 then tally.label, tally.detail = label, detail end
      return tally
    end
  end
  local tally = new_tally()
  tally.key, tally.label, tally.price, tally.detail = key, label, price.id, detail
  tallies[#tallies + 1] = tally
  return tally
end

-- Mark whether the last step at a rate is unpaid: only its newest tally has the flag.
local function mark_unpaid_step(session, tally, unpaid)
  local tallies = session.tallies
  local price_id = tally.price
  for n = 1, #tallies do
    local next_tally = tallies[n]
    if next_tally.unpaid == 1 and same_rate(next_tally.price, price_id) then next_tally.unpaid = 0 end
  end
  tally.unpaid = unpaid
end

local function add_units(tally, bucket_id, units)
  local list = tally.units
  for n = 1, #list, 2 do
    if list[n] == bucket_id then
      list[n + 1] = list[n + 1] + units
      return
    end
  end
  local at = #list
  list[at + 1], list[at + 2] = bucket_id, units
end

-- Services of a charging record: what the tallies have gained since the last one.
local function recorded_services(session)
  local services, tallies = {}, session.tallies
  table.sort(tallies, function(tally, next_tally)
    if tally.key ~= next_tally.key then return tally.key < next_tally.key end
    return tally.price < next_tally.price
  end)
  for n = 1, #tallies do
    local tally = tallies[n]
    local used, list, units = tally.used - tally.recorded, tally.units, {}
    for m = 1, #list, 2 do units[#units + 1] = {list[m], list[m + 1]} end
    table.sort(units, function(one, another) return one[1] < another[1] end)
    if used > 0 or tally.debit > 0 or #units > 0 or tally.overrun > 0 or tally.dropped > 0 then
      services[#services + 1] = {key = tally.key, label = tally.label, price = tally.price, detail = tally.detail,
        used = used, debit = tally.debit, units = units, overrun = tally.overrun, dropped = tally.dropped,
        promo = some(tally.promotional)}
    end
    tally.recorded, tally.debit, tally.units, tally.overrun, tally.dropped = tally.used, 0, {}, 0, 0
    tally.promotional = 0
  end
  return services
end
