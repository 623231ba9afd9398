-- Step 6: hold what is wanted next: at most what buckets and credit pay, what counters leave, what the quota policy
-- allows and, when little is left, a fair share.

-- micro-EUR: a scarce rest up to this is granted whole; otherwise it would be halved without end
local SMALL_CHANGE = 100000
local IMEI_OCTETS = 15 -- 14 digits and a comma
local SCARCE_S = 60 -- how long grants leave room for others, after a request got nothing while others held money

-- An event, once for each equipment of the account among the last few (HOT-ACC-11).
local function tell_equipment(work, equipment)
  local account = work.account
  local told = account.barred_equipment
  if string.find(told, equipment .. ',', 1, true) then return end
  account.barred_equipment = string.sub(told, -(EQUIPMENT_TOLD - 1) * IMEI_OCTETS) .. equipment .. ','
  journal(work, {k = 'equipment', imei = equipment})
end

local function refusal(work, requested)
  local request = work.request
  if requested.always == 1 then return nil end
  if state_at(work.account, work.now) ~= 'a' then return 4010, 'state' end
  if request.equipment ~= '' then
    tell_equipment(work, request.equipment)
    return 4010, 'equipment'
  end
  if barred(work, requested.bars) then return 4010, 'bar' end
end

-- If `wanted` raw units would be there without the holds of others, grants leave room for others for SCARCE_S.
local function note_scarcity(work, item, sources, wanted)
  if largest_grant(work, item, sources, wanted, funds_of(work, true, false)) >= wanted then
    work.account.scarce_until = work.now + SCARCE_S
  end
end

-- Why a grant is no larger than `room`: "volume" (a counter that restricts), "limit" (another counter) or "credit".
local function why_no_more(work, item, sources, room)
  local requested = item.requested
  if largest_grant(work, item, sources, room + 1, funds_of(work, false, 'all')) <= room then return 'credit' end
  if requested.slows == 0 then return 'limit' end
  return largest_grant(work, item, sources, room + 1, funds_of(work, false, 'restrict')) > room and 'volume' or 'limit'
end

-- A service stops at a limit though the counter is short of it: the rest does not pay the least grant, whatever others
-- hold. This counts as 100 %, once a window and limit (HOT-CC-4, HOT-ROA-5).
local function journal_stopping_limits(work, item)
  local service, funds = item.service, funds_of(work, true)
  local legs = service.legs
  for n = 1, #legs do
    local leg = legs[n]
    local counters = counters_of(work, rate_of(leg))
    local holds, money, credit_units, units = plan_leg(work, item, leg, usable_buckets(work, leg), 1, nil, funds)
    for m = 1, holds and #counters or 0 do
      local counter = counters[m]
      if counter and counter.limit >= 0 and counter.told < 100 and counter.at_limit ~= 'price'
        and index_of(counter.thresholds, 100)
        and counter_amount(counter, money, credit_units, units) > counter_room(funds, counter) then
        journal_threshold(work, counter, 100)
      end
    end
  end
end

-- Reserve `want` raw units. Returns the units granted, whether they are the final ones, and the reason for less.
local function reserve_item(work, item, want)
  local requested, service, one_off = item.requested, item.service, work.is_one_off
  local legs, sources, funds, competing = service.legs, {}, funds_of(work), one_off and 1 or work.open_sessions
  if not one_off and work.now < work.account.scarce_until then competing = max(competing, 2) end
  for n = 1, #legs do sources[n] = usable_buckets(work, legs[n]) end
  local room = largest_grant(work, item, sources, min(want * competing, UNBOUNDED), funds)
  local grant = min(want, room)
  -- Sharing never goes below the policy's minimum, as far as SMALL_CHANGE pays for it. If the share is nothing, the
  -- minimum is tried.
  if competing > 1 and room < want * competing then
    local change = funds_of(work, false, false, SMALL_CHANGE)
    local affordable_minimum = largest_grant(work, item, sources, min(requested.minimum, room), change)
    local share = max(idiv(room, competing), affordable_minimum)
    grant = min(grant, share > 0 and share or requested.minimum)
  end
  if requested.maximum > 0 and not one_off and not funds.covered then
    local within_maximum = largest_grant(work, item, sources, grant, funds_of(work, false, false, requested.maximum))
    grant = min(grant, within_maximum > 0 and within_maximum or requested.minimum)
  end
  local final, reason = grant == room and room < want, ''
  if (final or grant <= 0) and room < want then
    reason = why_no_more(work, item, sources, room)
  end
  if grant < min(want, one_off and want or 1) then note_scarcity(work, item, sources, one_off and want or 1) end
  if grant <= 0 then
    if want > 0 and reason ~= 'credit' then journal_stopping_limits(work, item) end
    return 0, false, reason
  end
  hold_grant(work, item, sources, grant, funds)
  service.granted = grant
  return grant, final, reason
end

-- A service got nothing: a restricted phase (RFC 8506 §5.6.2), or 4012.
local function refuse_or_restrict(item)
  local requested, service, result = item.requested, item.service, item.result
  if result.reason == 'volume' then
    result.restricted, service.phase = true, SLOWED
  elseif requested.restrict == 0 or (requested.restrict == 1 and service.phase == RESTRICTED) then
    result.code, service.phase = 4012, REFUSED
  else
    result.restricted, service.phase = true, RESTRICTED
  end
end

-- Raw units to reserve; -1 = none.
local function units_wanted(item)
  local requested, service, result = item.requested, item.service, item.result
  local phase = service.phase
  local restricted = requested.restrict > 0 and (phase == FINAL or phase == RESTRICTED)
  if requested.want < 0 and (restricted or phase == SLOWED) then
    -- A restricted phase may be over: try again.
    if item.reported == 0 and requested.retry_want > 0 then return requested.retry_want end
    result.restricted = true
    if phase == SLOWED then result.reason = 'volume' else service.phase = RESTRICTED end
  end
  return requested.want
end

-- Check that the service may be used at all, and put its new price and buckets in force. Sets item.want; -1 = reserve
-- nothing.
local function prepare_service(work, item)
  local request, requested, service, result = work.request, item.requested, item.service, item.result
  item.want = -1
  if not item.accepted then return end
  local want = units_wanted(item)
  service.deadline = request.deadline
  if want < 0 then return end
  local code, reason = refusal(work, requested)
  if code then
    result.code, result.reason = code, reason
    return
  end
  if not item.out_of_order then
    service.legs = fresh_legs(requested.legs, service.legs)
    service.detail = requested.detail
    service.always = requested.always
    service.bars = requested.bars
    service.switch_at, service.spans = requested.switch_at, requested.spans
  end
  item.want = want
end

-- Final units are used and nothing is asked for any more.
local function journal_limits_of_last_grants(work)
  local request, items = work.request, work.items
  for n = 1, #items do
    local item = items[n]
    local requested, service = item.requested, item.service
    local phase = service.phase
    if phase == FINAL and item.reported > 0 and (request.type == 'T' or requested.want < 0) then
      journal_stopping_limits(work, item)
    end
  end
end

local function reserve(work)
  local request = work.request
  if work.closed then return end
  journal_limits_of_last_grants(work)
  if request.type == 'T' then return end
  local items = work.items
  for n = 1, #items do prepare_service(work, items[n]) end
  local wanted = {}
  for n = 1, #items do
    local item = items[n]
    if item.want > 0 then start_armed(work, item, wanted) end
  end
  for n = 1, #items do
    local item = items[n]
    local requested, service, result = item.requested, item.service, item.result
    if item.want >= 0 then
      result.granted, result.final, result.reason = reserve_item(work, item, item.want)
      if not work.is_one_off and not (result.granted == 0 and item.want > 0) then
        service.phase = result.final and (result.reason == 'volume' and SLOWED or FINAL) or NORMAL
        -- The time of a new grant runs from now.
        if requested.unit == 'seconds' and item.reported == 0 and item.granted == 0 and not work.out_of_order then
          service.reported_until = max(service.reported_until, work.now)
        end
        result.span_switch = service.switch_at > work.now and service.spans == 1
      elseif not work.is_one_off then
        refuse_or_restrict(item)
      end
    end
  end
end
