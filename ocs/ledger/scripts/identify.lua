-- Step 1: whose request is it, and has it come before? Nothing is changed but the session that is charged (docs/LEDGER.md).
-- In: w.request, w.id. Out: w.account, w.pool, w.session (nil: none yet), w.late, w.closed (it had ended), w.replaces, w.overtaken.

local function refuse(w, code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place, outcome.at = code, reason, place or '', w.now
  return {0, pack(outcome)}
end

local function remembered(w)
  local stored = redis.call('HGET', w.keys.own, w.field)
  if stored then return {DUPLICATE, stored} end
end

-- A one-off request is the one before if it asks the same, and says that it comes again, has its End-to-End-Id or follows soon.
local function remembered_event(w)
  local request, stored = w.request, redis.call('HMGET', w.keys.own, w.field, 'f' .. w.field)
  if not stored[1] then return nil end
  local content, end_to_end, at = read_mark(stored[2])
  local kept_id = end_to_end > 0 and end_to_end == request.end_to_end
  local same = content == request.content and (request.retransmitted == 1 or kept_id or w.now < at + TOMBSTONE_S)
  if same then return {DUPLICATE, stored[1]} end
  w.reused = true
end

-- One-off requests, and those of sessions that are not in the document: what they were answered before the account moved comes after it.
local function look_back(w)
  local request, account = w.request, w.account
  if account.moved_from ~= '' and w.now < account.look_back_until and request.looked_back ~= account.moved_from then
    return refuse(w, 0, 'look_back', account.moved_from)
  end
end

local function open_account(w)
  local document = redis.call('GET', w.keys.account)
  if not document then return refuse(w, 5030, 'unknown') end
  local account, why = unpacked('account', document)
  if not account then return refuse(w, 0, why) end
  if account.moved_to ~= '' then return refuse(w, 0, 'moved', account.moved_to) end
  w.account = account
end

-- A client that has begun to count again takes a Session-Id of one that ended; what is sent again has the T bit, and the End-to-End-Id that
-- it had (RFC 6733 §3).
local function opens_anew(w)
  local request = w.request
  if request.type ~= 'I' then return false end
  if request.retransmitted == 0 then return true end
  local mark = request.end_to_end > 0 and redis.call('HGET', w.keys.own, 'f' .. w.field)
  if not mark then return false end
  local _, end_to_end = read_mark(mark)
  return end_to_end > 0 and end_to_end ~= request.end_to_end
end

-- Its client has had the opening's answer, since it has sent updates.
local function has_gone_on(session) return session.highest ~= first_highest(session.opening) or #session.apart > 0 end

-- The session that the request names, open or closed; a repetition's answer; another owner's.
local function find_session(w)
  local request, account, closed = w.request, w.account, nil
  local session = account.sessions[request.session_id]
  if not session then
    local stored = redis.call('HMGET', w.keys.own, w.field, 'closed')
    closed = exhume(stored[2], w.now)
    w.stored = stored[1]
    if not closed then
      w.reused = stored[1] and opens_anew(w)
      if w.reused then return nil end
      return (stored[1] and {DUPLICATE, stored[1]}) or look_back(w)
    end
    session = closed
  end
  local mine = session.owner == request.owner and session.origin_host == request.origin_host
  if not mine then
    local owner = session.owner ~= '' and session.owner or string.lower(session.origin_host)
    mine = owner == (request.owner ~= '' and request.owner or string.lower(request.origin_host))
  end
  local anew = mine and request.type == 'I' and session.origin_state > 0 and request.origin_state > session.origin_state
  if not mine then return refuse(w, 5002, 'owner') end
  w.session, w.closed, w.anew = session, closed ~= nil, anew
end

local function repetition(w)
  local request, session = w.request, w.session
  local number, kind = request.number, request.type
  if w.anew then return nil end
  if session.refused == 1 and kind == 'I' then
    w.tried_again = number == session.opening
    return nil
  end
  if opens_anew(w) and (w.closed or session.given_up == 1 or (number == session.opening and has_gone_on(session))) then
    w.reused, w.anew = true, true
    return nil
  end
  if w.stored and kind ~= 'I' then return {DUPLICATE, w.stored} end -- of a session that ended, the answers stand beside it
  local seen
  if kind == 'I' then
    seen = number == session.opening and 'yes' or 'no'
  elseif kind == 'T' then
    seen = 'no'
  else
    seen = applied(session, number)
    -- A number kept apart that has been forgotten is answered as long as its answer is there.
    if seen == 'no' and number ~= session.highest + 1 then return remembered(w) end
  end
  if seen == 'no' then return nil end
  return (seen == 'yes' and remembered(w)) or refuse(w, 5012, 'late')
end

-- An emergency stays one, though a request need not say so again (place: ocs/charging/usage_context.py).
local function in_need(place) return string.find(place, '^%a*\0311\031') end

local function stale(w)
  local request, account, session = w.request, w.account, w.session
  if session and (request.expected_location ~= '' or session.place ~= request.place) then
    local elsewhere = request.expected_location ~= '' and session.place ~= request.expected_location
    local relieved = request.type ~= 'I' and not w.closed and in_need(session.place) and not in_need(request.place)
    if elsewhere or relieved then return refuse(w, 0, 'place', session.place) end
  end
  local identity = request.identity
  if identity ~= '' and (account.state == 't' or (identity ~= 'm' .. account.msisdn and identity ~= 'i' .. account.imsi)) then
    return refuse(w, 0, 'identity')
  end
  local why = load_pool(w, request.pool)
  if why then return refuse(w, 0, why, account.pool) end
end

-- Open sessions whose deadline is later than `after`, but for one.
local function count_open(account, after, but)
  local count = 0
  for sid, session in pairs(account.sessions) do
    if session.given_up == 0 and session.deadline > after and sid ~= but then count = count + 1 end
  end
  return count
end

local function new_session_for(request, now)
  local session = new_session()
  session.origin_host, session.origin_realm, session.relay, session.owner = request.origin_host, request.origin_realm, request.relay, request.owner
  session.context, session.started, session.deadline, session.origin_state = request.context, now, request.deadline, request.origin_state
  session.opening, session.recorded_at, session.place = request.number, now, request.place
  session.highest = first_highest(request.number)
  return session
end

local function opening(w)
  local session = w.session
  if session and not w.closed then
    -- A client that lost its state may take the same id again (RFC 6733 §8.6).
    w.replaces = session.given_up == 1 or w.anew
    if not w.replaces then return refuse(w, 5012, 'open') end
  elseif session then
    w.replaces = true
  end
  local request = w.request
  if count_open(w.account, w.now, request.session_id) >= MAX_SESSIONS then return refuse(w, 5006, 'sessions') end
end

-- Nothing is changed before this has let the request through.
local function identify(w)
  local request = w.request
  local why = wrong_clock(w.now, request.max_skew_s)
  if why then return refuse(w, 0, why) end
  local kind = request.type
  local answer = open_account(w) or (kind == 'E' and (remembered_event(w) or look_back(w)))
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
  if kind ~= 'E' and not w.session then return refuse(w, 5002, 'session') end
end

-- The session is made, replaced or gone on with, after what was due is done.
local function take_up(w)
  local request, account, session = w.request, w.account, w.session
  local kind, sid = request.type, request.session_id
  if w.replaces and not w.closed then
    if session.given_up == 0 then give_up(w, sid, session, 'restarted') end
    if account.sessions[sid] then forget_session(w, sid) end
  end
  w.open_sessions = count_open(account, 0, nil)
  if kind == 'E' or kind == 'I' then
    w.closed = false
    w.session = new_session_for(request, w.now)
    w.open_sessions = w.open_sessions + 1
    return
  end
  w.highest_before = session.highest
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
