-- Step 1: whose request is it, and has it come before? Nothing is changed but the session that is charged (docs/LEDGER.md).
-- In: w.request, w.id. Out: w.account, w.pool, w.session (nil: none yet), w.late, w.closed (it had ended), w.replaces, w.overtaken.

local DUPLICATE, JOURNALLED, PROLONGED = 1, 2, 4 -- flags of the result

local function refuse(code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place, outcome.at = code, reason, place or '', 0
  return {0, pack(outcome)}
end

local function remembered(w)
  local stored = redis.call('HGET', w.keys.own, w.field)
  if stored then return {DUPLICATE, stored} end
end

-- One-off requests, and those of sessions that are not in the document: what they were answered before the account moved comes after it.
local function look_back(w)
  local request, account = w.request, w.account
  if account.moved_from ~= '' and w.now < account.look_back_until and request.looked_back ~= account.moved_from then
    return refuse(0, 'look_back', account.moved_from)
  end
end

local function open_account(w)
  local request = w.request
  local document = redis.call('GET', w.keys.account)
  if not document then return refuse(5030, 'unknown') end
  local account, why = unpacked('account', document)
  if not account then return refuse(0, why) end
  if account.moved_to ~= '' then return refuse(0, 'moved', account.moved_to) end
  w.account = account
  if request.type == 'E' then return look_back(w) end
end

-- The session that the request names, open or closed; a repetition's answer; another owner's.
local function find_session(w)
  local request, account, closed = w.request, w.account, nil
  local session = account.sessions[request.session_id]
  if not session then
    local stored = redis.call('HMGET', w.keys.own, w.field, 'closed')
    closed = exhume(stored[2], w.now)
    if not closed then return (stored[1] and {DUPLICATE, stored[1]}) or look_back(w) end
    session = closed
  end
  local owner = session.owner ~= '' and session.owner or string.lower(session.origin_host)
  local mine = owner == (request.owner ~= '' and request.owner or string.lower(request.origin_host))
  local anew = mine and request.type == 'I' and session.origin_state > 0 and request.origin_state > session.origin_state
  if not mine then return refuse(5002, 'binding') end
  w.session, w.closed, w.anew = session, closed ~= nil, anew
end

local function repetition(w)
  local request, session = w.request, w.session
  local number, kind = request.number, request.type
  if w.anew or session.refused == 1 and kind == 'I' then return nil end
  local seen
  if kind == 'I' then
    seen = number == session.opening and 'yes' or 'no'
  elseif kind == 'T' then
    seen = number == session.closing and 'yes' or 'no'
  else
    seen = applied(session, number)
  end
  if seen == 'no' then return nil end
  return (seen == 'yes' and remembered(w)) or refuse(5012, 'late')
end

-- An emergency stays one, though a request need not say so again (place: ocs/charging/use.py).
local function in_need(place) return string.find(place, '^%a*\0311\031') end

local function stale(w)
  local request, account, session = w.request, w.account, w.session
  if session and not w.closed then
    local elsewhere = request.assumed ~= '' and session.place ~= request.assumed
    if elsewhere or (request.type ~= 'I' and in_need(session.place) and not in_need(request.place)) then
      return refuse(0, 'place', session.place)
    end
  end
  local identity = request.identity
  if identity ~= '' and (account.state == 't' or (identity ~= 'm' .. account.msisdn and identity ~= 'i' .. account.imsi)) then
    return refuse(0, 'identity')
  end
  local why = load_pool(w, request.pool)
  if why then return refuse(0, why, account.pool) end
end

local function count_open(account)
  local count = 0
  for _, session in pairs(account.sessions) do
    if session.given_up == 0 then count = count + 1 end
  end
  return count
end

local function new_session_for(request, now)
  local session = new_session()
  session.origin_host, session.origin_realm, session.relay, session.owner = request.origin_host, request.origin_realm, request.relay, request.owner
  session.context, session.started, session.deadline, session.origin_state = request.context, now, request.deadline, request.origin_state
  session.opening, session.highest, session.recorded_at, session.place = request.number, request.number - 1, now, request.place
  return session
end

local function opening(w)
  local session = w.session
  if session and not w.closed then
    -- A client that lost its state may take the same id again (RFC 6733 §8.6).
    w.replaces = session.given_up == 1 or w.anew
    if not w.replaces then return refuse(5012, 'open') end
  elseif session then
    w.replaces = true
  end
end

-- Nothing is changed before this has let the request through.
local function identify(w)
  local request = w.request
  local why = wrong_clock(w.now, request.max_skew_s)
  if why then return refuse(0, why) end
  local kind = request.type
  local answer = (kind == 'E' and remembered(w)) or open_account(w)
  if answer then return answer end
  if kind ~= 'E' then
    answer = find_session(w)
    if answer then return answer end
    answer = w.session and repetition(w)
    if answer then return answer end
  end
  answer = stale(w)
  if answer then return answer end
  if kind == 'I' then return opening(w) end
  if kind ~= 'E' and not w.session then return refuse(5002, 'session') end
end

-- The session is made, replaced or gone on with, after what was due is done. Returns a refusal when there are too many.
local function take_up(w)
  local request, account, session = w.request, w.account, w.session
  local kind, sid = request.type, request.session_id
  if w.replaces and not w.closed then
    if session.given_up == 0 then give_up(w, sid, session, 'restarted') end
    if account.sessions[sid] then forget_session(w, sid) end
  end
  w.open_sessions = count_open(account)
  if kind == 'E' or kind == 'I' then
    if kind == 'I' and w.open_sessions >= MAX_SESSIONS then return refuse(5006, 'sessions') end
    w.closed = false
    w.session = new_session_for(request, w.now)
    w.open_sessions = w.open_sessions + 1
    return
  end
  if w.closed then
    w.late, w.overtaken = true, kind == 'U' and session.closing >= 0 and request.number < session.closing
    if kind == 'U' then w.apart = note_number(session, request.number) end
    return
  end
  -- A later request came first: what it said of place and price stays in force.
  w.overtaken = kind == 'U' and request.number < session.highest
  if not w.overtaken then
    session.origin_host, session.origin_realm, session.relay, session.place = request.origin_host, request.origin_realm, request.relay, request.place
    if session.owner == '' then session.owner = request.owner end -- the owner stays who it is whichever member of its group asks
    if request.origin_state > 0 then session.origin_state = request.origin_state end
  end
  if session.given_up == 1 then
    session.given_up, w.late, w.open_sessions = 0, true, w.open_sessions + 1
    if kind == 'U' then index_session(w, sid, session, 'SADD') end
  end
  if kind == 'U' then w.apart = note_number(session, request.number) end
end
