-- Sessions: which request numbers were applied, giving one up, what stays of one that ended, who hears from us.

local LATE_S = 3600 -- a session that was given up is kept so long for use reported late
local MAX_GIVEN_UP = 8 -- of an account; one more drops the one that would go first
local FAR_AHEAD = 1024 -- a number so far beyond the highest does not become the highest
local MAX_APART = 8 -- numbers kept apart
local NORMAL, FINAL, RESTRICTED, REFUSED = 0, 1, 2, 3 -- phases of a service
local WORD = 32 -- bits of one half of the mask

-- Bit n of the mask (two words): the update `highest` - n was applied.
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

local function mask_move_up(session, by)
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

-- Numbers that begin far away say nothing of those that follow.
local function first_highest(opening) return opening <= FAR_AHEAD and opening or -1 end

local function place_of(list, value)
  for n = 1, #list do
    if list[n] == value then return n end
  end
end

-- Whether the session has applied the update `number`: "yes", "no", or "forgotten" (too far behind to know).
local function applied(session, number)
  local behind = session.highest - number
  if behind >= ANSWERS_KEPT then return 'forgotten' end
  if behind < 0 then return place_of(session.apart, number) and 'yes' or 'no' end
  return mask_has(session, behind) and 'yes' or 'no'
end

-- Notes an update's number. Returns whether it is kept apart: then it is not the session's highest.
local function note_number(session, number)
  local by, apart = number - session.highest, session.apart
  if by > FAR_AHEAD and not place_of(apart, number - 1) then
    apart[#apart + 1] = number
    if #apart > MAX_APART then table.remove(apart, 1) end
    return true
  end
  if by > 0 then
    mask_move_up(session, by)
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

-- "{tag}:c:<client>" lists the sessions of a client that says its Origin-State-Id: found when it comes back with a higher one.
local function index_session(w, sid, session, command)
  if session.origin_state > 0 then
    w.index = w.index or {SADD = {}, SREM = {}}
    local key = key_prefix(w) .. 'c:' .. string.lower(session.origin_host)
    w.index.SADD[sid], w.index.SREM[sid] = nil, nil
    w.index[command][sid] = key
  end
end

local function give_up_service(w, service)
  local account, legs, returned = w.account, service.legs, 0
  for n = 1, #legs do
    local leg = legs[n]
    local holds, granted_by = leg.holds, leg.granted_by
    for m = 1, #holds do
      local hold = holds[m]
      local bucket = bucket_of(w, hold)
      if bucket then
        change_held(w, bucket, hold.pooled, -hold.units)
        granted_by[#granted_by + 1] = hold
      end
    end
    returned = returned + leg.held
    account.held = account.held - leg.held
    release_counters(w, leg)
    leg.holds, leg.held = {}, 0
  end
  service.granted = 0
  return returned
end

-- Units that were granted before a session was given up, in buckets that have ended since, go with it. What was reported since its last
-- record is in one more.
local function forget_session(w, sid)
  local account = w.account
  local session = account.sessions[sid]
  local services = recorded_services(session)
  if #services > 0 then
    journal(w, {k = 'charge', sid = sid, ctx = session.context, typ = 'U', n = session.highest, svc = services, code = 2001, debit = 0,
      credit = account.credit, closed = true, late = true, started = session.started})
  end
  for _, service in pairs(session.services) do release_service(w, service, false) end
  account.sessions[sid] = nil
end

-- Give a session up: what it holds returns, its record says so; use of it that is reported late can still be settled.
local function give_up(w, sid, session, reason)
  local account, returned = w.account, 0
  for _, service in pairs(session.services) do
    returned = returned + give_up_service(w, service)
    service.phase = NORMAL
  end
  session.given_up, session.deadline, session.recorded_at, w.replan = 1, w.now + LATE_S, w.now, true
  journal(w, {k = 'expired', sid = sid, ctx = session.context, returned = returned, reason = reason, svc = recorded_services(session)})
  index_session(w, sid, session, 'SREM')
  local count, first, first_deadline = 0, nil, nil
  for other_sid, other in pairs(account.sessions) do
    if other.given_up == 1 then
      count = count + 1
      local deadline = other.deadline
      if other_sid ~= sid and other_sid ~= w.keep and (not first or deadline < first_deadline or (deadline == first_deadline and other_sid < first)) then
        first, first_deadline = other_sid, deadline
      end
    end
  end
  if count > MAX_GIVEN_UP and first then forget_session(w, first) end
end

-- What a session leaves beside its answers when it ends: everything but its holds, for reports that it overtook. No money is in it.
local function tombstone_of(w, session)
  for _, service in pairs(session.services) do
    release_service(w, service, false)
    service.phase = NORMAL
  end
  if not w.closed then session.deadline = w.now + TOMBSTONE_S end
  return pack(session)
end

-- A session that ended not long ago, from what is beside its answers; nil = none.
local function exhume(tombstone, now)
  if not tombstone then return nil end
  local session = unpack_value(tombstone)
  bring_up('session', session)
  return session.deadline > now and session or nil
end

-- Whether a session has services that nothing aborts (emergency calls, HOT-RAT-2), and others.
local function kinds_of(session)
  local always, others = false, false
  for _, service in pairs(session.services) do
    if service.always == 1 then always = true else others = true end
  end
  return always, others
end

local function publish(w, kind, reason, at, told)
  if #told > 0 then redis.call('PUBLISH', 'ocs:notices', pack({kind, reason, at, w.id, told})) end
end

-- Tell the workers that clients should hear from us (`Notice` in ocs/ledger/contract/notices.py). `wanted` chooses among the live sessions. A session that
-- has what nothing aborts is never aborted: it is asked again for its other services.
local function notify(w, kind, reason, at, wanted)
  local told, asked_again, account = {}, {}, w.account
  for sid, session in pairs(account.sessions) do
    if session.given_up == 0 and wanted(session, sid) then
      local always, others = false, true
      if kind == 'abort' then always, others = kinds_of(session) end
      local how = {sid, session.origin_host, session.origin_realm, session.relay, session.context}
      if not always then
        told[#told + 1] = how
      elseif others then
        asked_again[#asked_again + 1] = how
      end
    end
  end
  publish(w, kind, reason, at, told)
  publish(w, 'reauthorize', reason, at, asked_again)
end

local function any_session() return true end

-- A session with a service that lacks money or units.
local function starving(session)
  for _, service in pairs(session.services) do
    if service.phase ~= NORMAL then return true end
  end
  return false
end
