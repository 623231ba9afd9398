-- Step 3: what the request's services hold returns, so that what one returns another can use (credit pools).
-- In: w.request, w.session. Out: w.items, one for each service asked: asked, service, line (its outcome), own (priced as the request says),
-- behind (a later update of it came first), granted (before), paid_back (what had granted it, by leg), room (false: too many services).

local UNRATED = 'unrated' -- label of use for which the request does not say enough to be priced

local function count_services(session)
  local count = 0
  for _ in pairs(session.services) do count = count + 1 end
  return count
end

-- Legs of these rates as they stand in the document, with nothing held. `before`: those in force, which hold nothing now.
local function fresh_legs(rates, before)
  if #rates == 1 and #before == 1 then
    local leg = before[1]
    if leg.rate == rates[1] then return before end
  end
  local legs = {}
  for n = 1, #rates do
    local leg = new_leg()
    leg.rate, legs[n] = rates[n], leg
  end
  return legs
end

local function service_for(w, asked)
  local request, session, service = w.request, w.session, new_service()
  service.detail, service.always, service.reported_until, service.deadline = asked.detail, asked.always, session.started, request.deadline
  service.legs = fresh_legs(asked.legs, {})
  return service
end

local function release(w)
  local request, session, items = w.request, w.session, {}
  local services, list = session.services, request.services
  local count = count_services(session)
  for n = 1, #list do
    local asked, line = list[n], new_line()
    local service = services[asked.key]
    local item = {asked = asked, line = line, room = true, granted = 0, paid_back = {}}
    line.key = asked.key
    if service then
      local legs = fresh_legs(asked.legs, service.legs)
      local asked_rate, in_force = rate_of(legs[1]), service.legs
      local rate = rate_of(in_force[1])
      -- Use is priced by the grant in force, but for a report that a later one of the same service has overtaken, and where there was no
      -- price: those say themselves where that was.
      item.behind = request.type == 'U' and request.number < service.number
      item.own = asked_rate.label ~= UNRATED and (rate.label == UNRATED or (item.behind and request.expected_location == ''))
      item.granted = service.granted
      item.paid_back = release_service(w, service, true)
    else
      item.own = true
      service = service_for(w, asked)
      if count < MAX_SERVICES then
        services[asked.key] = service
        count = count + 1
      else
        line.code, line.reason, item.room = 5006, 'sessions', false -- what was used is settled
      end
    end
    item.service = service
    items[n] = item
  end
  w.items = items
end
