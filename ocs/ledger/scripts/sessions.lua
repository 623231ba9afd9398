-- Sessions: request numbers applied, giving up, tombstones, notices.

local LATE_S = 3600 -- how long a session that was given up is kept, for use reported late
local MAX_GIVEN_UP = 8 -- sessions given up that an account keeps; the one with the earliest deadline goes first
local FAR_AHEAD = 1024 -- an update further ahead of the highest does not become the highest
local MAX_APART = 8 -- numbers of such updates that are kept
local NORMAL, FINAL, RESTRICTED, REFUSED, SLOWED = 0, 1, 2, 3, 4 -- phases of a service
local WORD = 32 -- bits of mask_low and mask_high each

-- Bit n of the mask (64 bits in two halves): the update `highest` - n has been applied.
local function mask_has(session, behind)
  local mask = behind < WORD and session.mask_low or session.mask_high
  return bit.band(mask, bit.lshift(1, behind % WORD)) ~= 0
end

local function mask_add(session, behind)
  local one = bit.lshift(1, behind % WORD)
  if behind < WORD then
    session.mask_low = bit.bor(session.mask_low, one)
  else
    session.mask_high = bit.bor(session.mask_high, one)
  end
end

local function shift_mask(session, by)
  local low, high = session.mask_low, session.mask_high
  if by >= 2 * WORD then
    low, high = 0, 0
  elseif by >= WORD then
    low, high = 0, bit.lshift(low, by - WORD)
  else
    low, high = bit.lshift(low, by), bit.bor(bit.lshift(high, by), bit.rshift(low, WORD - by))
  end
  session.mask_low, session.mask_high = low, high
end

-- Highest update when the session opens. An opening beyond FAR_AHEAD says nothing of later numbers: -1.
local function initial_highest(opening) return opening <= FAR_AHEAD and opening or -1 end

local function index_of(list, value)
  for n = 1, #list do
    if list[n] == value then return n end
  end
end

-- Whether the update `number` has been applied: "yes", "no", or "forgotten" (too far behind the highest).
local function update_status(session, number)
  local behind = session.highest - number
  if behind >= ANSWERS_KEPT then return 'forgotten' end
  if behind < 0 then return index_of(session.apart, number) and 'yes' or 'no' end
  return mask_has(session, behind) and 'yes' or 'no'
end

-- Record an update's number as applied. Returns true if it is kept apart, so that it is not the highest.
local function record_number(session, number)
  local by, apart = number - session.highest, session.apart
  if by > FAR_AHEAD and not index_of(apart, number - 1) then
    if apart == '' then
      apart = {}
      session.apart = apart
    end
    apart[#apart + 1] = number
    if #apart > MAX_APART then table.remove(apart, 1) end
    return true
  end
  if by > 0 then
    shift_mask(session, by)
    session.highest = number
  end
  mask_add(session, session.highest - number)
  for n = #apart, 1, -1 do
    local behind = session.highest - apart[n]
    if behind >= 0 then
      if behind < ANSWERS_KEPT then mask_add(session, behind) end
      table.remove(apart, n)
    end
  end
  return false
end

-- Note a change of the index "{tag}:c:<client>": the sessions of a client that sends Origin-State-Id. They are looked
-- up when the client comes back with a higher one.
local function index_session(work, session_id, session, command)
  if session.origin_state > 0 then
    work.index_changes = work.index_changes or {SADD = {}, SREM = {}}
    local key = key_prefix(work) .. 'c:' .. string.lower(session.origin_host)
    work.index_changes.SADD[session_id], work.index_changes.SREM[session_id] = nil, nil
    work.index_changes[command][session_id] = key
  end
end

local function give_up_service(work, service)
  local account, legs, returned = work.account, service.legs, 0
  for n = 1, #legs do
    local leg = legs[n]
    local holds, granted_by = leg.holds, leg.granted_by
    for m = 1, #holds do
      local hold = holds[m]
      local bucket = bucket_of(work, hold)
      if bucket then
        change_held(work, bucket, hold.pooled, -hold.units)
        if granted_by == '' then
          granted_by = {}
          leg.granted_by = granted_by
        end
        granted_by[#granted_by + 1] = hold
      end
    end
    returned = returned + leg.held
    account.held = account.held - leg.held
    release_counters(work, leg)
    leg.holds, leg.held = {}, 0
  end
  service.granted = 0
  return returned
end

-- Drop a session that was given up. Late use since its last charging record gets a record of its own.
local function forget_session(work, session_id)
  local account = work.account
  local session = account.sessions[session_id]
  local services = recorded_services(session)
  if #services > 0 then
    journal(work, {k = 'charge', sid = session_id, ctx = session.context, typ = 'U', n = session.highest,
      svc = services, code = 2001, debit = 0, credit = account.credit, closed = true, late = true,
      started = session.started, chg = session.charging_id ~= '' and session.charging_id or nil})
  end
  for _, service in pairs(session.services) do release_service(work, service, false) end
  account.sessions[session_id] = nil
end

-- Give a session up: release its holds and journal its charging record. Use reported later can still be settled.
local function give_up(work, session_id, session, reason)
  local account, returned = work.account, 0
  for _, service in pairs(session.services) do
    returned = returned + give_up_service(work, service)
    service.phase = NORMAL
  end
  session.given_up, session.deadline, session.recorded_at, work.due_changed = 1, work.now + LATE_S, work.now, true
  journal(work, {k = 'expired', sid = session_id, ctx = session.context, returned = returned, reason = reason,
    svc = recorded_services(session), started = session.started, credit = account.credit,
    chg = session.charging_id ~= '' and session.charging_id or nil})
  index_session(work, session_id, session, 'SREM')
  local count, first, first_deadline = 0, nil, nil
  for other_id, other in pairs(account.sessions) do
    if other.given_up == 1 then
      count = count + 1
      local deadline = other.deadline
      local earlier = not first or deadline < first_deadline or (deadline == first_deadline and other_id < first)
      if earlier and other_id ~= session_id and other_id ~= work.current_session_id then
        first, first_deadline = other_id, deadline
      end
    end
  end
  if count > MAX_GIVEN_UP and first then forget_session(work, first) end
end

-- Tombstone of a session: everything but its holds, packed. It is stored beside its answers, for reports that its end
-- overtook, and holds no money.
local function make_tombstone(work, session)
  for _, service in pairs(session.services) do
    release_service(work, service, false)
    service.phase = NORMAL
  end
  if not work.closed then session.deadline = work.now + TOMBSTONE_S end
  return pack(session)
end

-- The session of a tombstone; nil = none, or it is too old.
local function read_tombstone(tombstone, now)
  if not tombstone then return nil end
  local session = unpack_value(tombstone)
  bring_up('session', session)
  return session.deadline > now and session or nil
end

-- Two flags: the session has services that nothing aborts (emergency calls, HOT-RAT-2); it has others.
local function kinds_of_services(session)
  local always, others = false, false
  for _, service in pairs(session.services) do
    if service.always == 1 then always = true else others = true end
  end
  return always, others
end

local function publish(work, kind, reason, at, sessions)
  if #sessions > 0 then redis.call('PUBLISH', 'ocs:notices', pack({kind, reason, at, work.account_id, sessions})) end
end

-- Publish to the workers which sessions get a RAR or ASR (`Notice`, ocs/ledger/contract/notices.py): the open ones that
-- `wanted` chooses. A session with an emergency call is never aborted; it gets a RAR for its other services.
local function notify(work, kind, reason, at, wanted)
  local sessions, reauthorized, account = {}, {}, work.account
  for session_id, session in pairs(account.sessions) do
    if session.given_up == 0 and wanted(session, session_id) then
      local always, others = false, true
      if kind == 'abort' then always, others = kinds_of_services(session) end
      local noticed = {session_id, session.origin_host, session.origin_realm, session.relay, session.context}
      if not always then
        sessions[#sessions + 1] = noticed
      elseif others then
        reauthorized[#reauthorized + 1] = noticed
      end
    end
  end
  publish(work, kind, reason, at, sessions)
  publish(work, 'reauthorize', reason, at, reauthorized)
end

local function any_session() return true end

-- Whether a service of the session lacks money or units.
local function lacks_funds(session)
  for _, service in pairs(session.services) do
    if service.phase ~= NORMAL then return true end
  end
  return false
end
