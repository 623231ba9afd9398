-- Step 3: release what the request's services hold, so that one service can use what another returns (credit pools).
-- In: work.request, work.session. Out: work.items, one for each requested service: requested, service, result (its
-- outcome), at_request_price (its use is priced as the request says), out_of_order (a later update of it came first),
-- granted (before), granted_by (buckets that had granted it, by leg), accepted (false: too many services).

local UNRATED = 'unrated' -- label of a request that says too little to be priced

local function count_services(session)
  local count = 0
  for _ in pairs(session.services) do count = count + 1 end
  return count
end

-- Legs with these rates and no holds. `before`: the legs in force, which hold nothing any more.
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

local function new_service_for(work, requested)
  local request, session, service = work.request, work.session, new_service()
  service.detail = requested.detail
  service.always = requested.always
  service.reported_until = session.started
  service.deadline = request.deadline
  service.legs = fresh_legs(requested.legs, {})
  return service
end

local function release(work)
  local request, session, items = work.request, work.session, {}
  local services, list = session.services, request.services
  local count = count_services(session)
  for n = 1, #list do
    local requested, result = list[n], new_service_outcome()
    local service = services[requested.key]
    local item = {requested = requested, result = result, service = false, accepted = true, granted = 0,
      granted_by = false, out_of_order = false, at_request_price = false, detail = '', reported = 0,
      counter_moves = false, want = -1}
    result.key = requested.key
    if service then
      local legs = fresh_legs(requested.legs, service.legs)
      local requested_rate, in_force = rate_of(legs[1]), service.legs
      local rate = rate_of(in_force[1])
      -- Use is priced by the grant in force. Two reports are priced as they say themselves: one that a later report of
      -- the service has overtaken, and one whose grant had no price.
      item.out_of_order = request.type == 'U' and request.number < service.number
      local says_location = item.out_of_order and request.expected_location == ''
      item.at_request_price = requested_rate.label ~= UNRATED and (rate.label == UNRATED or says_location)
      item.granted = service.granted
      item.granted_by = release_service(work, service, true)
    else
      item.granted_by = {}
      item.at_request_price = true
      service = new_service_for(work, requested)
      if count < MAX_SERVICES then
        services[requested.key] = service
        count = count + 1
      else
        result.code, result.reason, item.accepted = 5006, 'sessions', false -- its use is settled all the same
      end
    end
    item.service = service
    items[n] = item
  end
  work.items, work.several_services = items, count > 1
end
