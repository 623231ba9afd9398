-- Step 3: what the request's services hold returns, so that what one returns another can use (credit pools).
-- In: w.request, w.session. Out: w.items, one for each service asked: asked, service, line (its outcome), own (priced as the request says),
-- behind (a later update of it came first), granted (before), paid_back (what had granted it, by leg), room (false: too many services).

local UNRATED = 'unrated' -- label of use for which the request does not say enough to be priced

local function count_services(session)
  local count = 0
  for _ in pairs(session.services) do count = count + 1 end
  return count
end

-- Whether a leg that holds nothing is what is asked for.
local function is_same_leg(leg, asked_leg)
  local price, next_price, ids, next_ids = leg.price, asked_leg.price, leg.counters, asked_leg.counters
  return leg.label == asked_leg.label and price.id == next_price.id and leg.buckets == asked_leg.buckets and not leg.price_after and
    not asked_leg.price_after and #ids == 1 and #next_ids == 1 and ids[1] == next_ids[1]
end

-- Legs as they stand in the document: with nothing held. `granted`: with the prices from a switch on; `before`: those in force, which hold
-- nothing now.
local function fresh_legs(list, granted, before)
  if #list == 1 and #before == 1 and is_same_leg(before[1], list[1]) then return before end
  local legs = {}
  for n = 1, #list do
    local leg, asked_leg = new_leg(), list[n]
    leg.label, leg.price, leg.buckets, leg.counters = asked_leg.label, asked_leg.price, asked_leg.buckets, asked_leg.counters
    leg.price_after = granted and asked_leg.price_after
    legs[n] = leg
  end
  return legs
end

local function service_for(w, asked)
  local request, session, service = w.request, w.session, new_service()
  service.detail, service.always, service.reported_until, service.deadline = asked.detail, asked.always, session.started, request.deadline
  service.legs = fresh_legs(asked.legs, false, {})
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
    local legs = asked.legs
    local leg = legs[1]
    local rated = leg.label ~= UNRATED
    if service then
      local in_force = service.legs
      leg = in_force[1]
      -- Use is priced by the grant in force, but for a report that a later one of the same service has overtaken, and where there was no
      -- price: those say themselves where that was.
      item.behind = request.type == 'U' and request.number < service.number
      item.own = rated and (leg.label == UNRATED or (item.behind and request.assumed == ''))
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
