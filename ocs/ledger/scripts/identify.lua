-- Step 1: find the account and the session, and recognise repetitions (docs/LEDGER.md). Only the session is changed.
-- In: work.request, work.account_id. Out: work.account, work.pool, work.session (nil: none yet), work.late, work.closed
-- (the session had ended), work.replaces, work.out_of_order.

local function refuse(work, code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place, outcome.at = code, reason, place or '', work.now
  return {0, pack(outcome)}
end

local function remembered(work)
  local stored = redis.call('HGET', work.keys.own, work.answer_field)
  if stored then return {DUPLICATE, stored} end
end

-- Answer to a repeated one-off request. It is a repetition if it asks the same and has the T bit, the same
-- End-to-End-Id, or follows within TOMBSTONE_S.
local function remembered_event(work)
  local request, stored = work.request, redis.call('HMGET', work.keys.own, work.answer_field, 'f' .. work.answer_field)
  if not stored[1] then return nil end
  local content, end_to_end, at = read_fingerprint(stored[2])
  local kept_id = end_to_end > 0 and end_to_end == request.end_to_end
  local same = content == request.content and (request.retransmitted == 1 or kept_id or work.now < at + TOMBSTONE_S)
  if same then return {DUPLICATE, stored[1]} end
  work.reused = true
end

-- Asks the caller to fetch the answers under the old ids of an account that was moved lately. Needed for one-off
-- requests, and for sessions that are not in the document.
local function look_back(work)
  local request, account = work.request, work.account
  if account.moved_from ~= '' and work.now < account.look_back_until and request.looked_back ~= account.moved_from then
    return refuse(work, 0, 'look_back', account.moved_from)
  end
end

local function open_account(work)
  local document = redis.call('GET', work.keys.account)
  if not document then return refuse(work, 5030, 'unknown') end
  local account, why = read_document('account', document)
  if not account then return refuse(work, 0, why) end
  if account.moved_to ~= '' then return refuse(work, 0, 'moved', account.moved_to) end
  work.account, work.facts_before = account, account.facts
end

-- Whether an opening begins a new session under an old Session-Id: its client has restarted its counter. A repetition
-- has the T bit and the same End-to-End-Id (RFC 6733 §3).
local function opens_new_session(work)
  local request = work.request
  if request.type ~= 'I' then return false end
  if request.retransmitted == 0 then return true end
  local fingerprint = request.end_to_end > 0 and redis.call('HGET', work.keys.own, 'f' .. work.answer_field)
  if not fingerprint then return false end
  local _, end_to_end = read_fingerprint(fingerprint)
  return end_to_end > 0 and end_to_end ~= request.end_to_end
end

-- The client has sent updates, so it has the opening's answer.
local function has_updates(session) return session.highest ~= initial_highest(session.opening) or #session.apart > 0 end

-- Find the session that the request names, open or closed. Returns an answer for repetitions and for other owners.
local function find_session(work)
  local request, account, closed = work.request, work.account, nil
  local session = account.sessions[request.session_id]
  if not session then
    local stored = redis.call('HMGET', work.keys.own, work.answer_field, 'closed')
    closed = read_tombstone(stored[2], work.now)
    work.remembered_answer = stored[1]
    if not closed then
      work.reused = stored[1] and opens_new_session(work)
      if work.reused then return nil end
      return (stored[1] and {DUPLICATE, stored[1]}) or look_back(work)
    end
    session = closed
  end
  local is_owner = session.owner == request.owner and session.origin_host == request.origin_host
  if not is_owner then
    local owner = session.owner ~= '' and session.owner or string.lower(session.origin_host)
    is_owner = owner == (request.owner ~= '' and request.owner or string.lower(request.origin_host))
  end
  if not is_owner then return refuse(work, 5002, 'owner') end
  work.session, work.closed = session, closed ~= nil
  work.reopened = request.type == 'I' and session.origin_state > 0 and request.origin_state > session.origin_state
end

-- Answer to a repetition; nil = the request is new.
local function repetition(work)
  local request, session = work.request, work.session
  local number, kind = request.number, request.type
  if work.reopened then return nil end
  if session.refused == 1 and kind == 'I' then
    work.retried_refusal = number == session.opening
    return nil
  end
  local has_gone_on = number == session.opening and has_updates(session)
  if (work.closed or session.given_up == 1 or has_gone_on) and opens_new_session(work) then
    work.reused, work.reopened = true, true
    return nil
  end
  -- The answers of a closed session are stored beside its tombstone.
  if work.remembered_answer and kind ~= 'I' then return {DUPLICATE, work.remembered_answer} end
  local status
  if kind == 'I' then
    status = number == session.opening and 'yes' or 'no'
  elseif kind == 'T' then
    status = 'no'
  else
    status = update_status(session, number)
    -- A number far ahead that is no longer known is still answered while its answer is stored.
    if status == 'no' and number ~= session.highest + 1 then return remembered(work) end
  end
  if status == 'no' then return nil end
  return (status == 'yes' and remembered(work)) or refuse(work, 5012, 'late')
end

-- Whether a place (ocs/charging/usage_context.py) says emergency. A session stays one, even if a later request does not
-- say so.
local function is_emergency(place) return string.find(place, '^%a*\0311\031') end

local function check_assumptions(work)
  local request, account, session = work.request, work.account, work.session
  if session and (request.expected_location ~= '' or session.place ~= request.place) then
    local other_location = request.expected_location ~= '' and session.place ~= request.expected_location
    local continues = request.type ~= 'I' and not work.closed
    local loses_emergency = continues and is_emergency(session.place) and not is_emergency(request.place)
    if other_location or loses_emergency then return refuse(work, 0, 'place', session.place) end
  end
  local identity = request.identity
  if identity ~= '' then
    local matches = identity == 'm' .. account.msisdn or identity == 'i' .. account.imsi
    if account.state == 't' or not matches then return refuse(work, 0, 'identity') end
  end
  local why = load_pool(work, request.pool)
  if why then return refuse(work, 0, why, account.pool) end
end

-- Number of open sessions with a deadline after `after`, without the session `except`.
local function count_open_sessions(account, after, except)
  local count = 0
  for session_id, session in pairs(account.sessions) do
    if session.given_up == 0 and session.deadline > after and session_id ~= except then count = count + 1 end
  end
  return count
end

local function new_session_for(request, now)
  local session = new_session()
  session.origin_host = request.origin_host
  session.origin_realm = request.origin_realm
  session.relay = request.relay
  session.owner = request.owner
  session.context = request.context
  session.started = now
  session.charging_id = request.charging_id
  session.deadline = request.deadline
  session.origin_state = request.origin_state
  session.opening, session.recorded_at, session.place = request.number, now, request.place
  session.highest = initial_highest(request.number)
  return session
end

local function check_opening(work)
  local session = work.session
  if session and not work.closed then
    -- A client that lost its state may use the same Session-Id again (RFC 6733 §8.6).
    work.replaces = session.given_up == 1 or work.reopened
    if not work.replaces then return refuse(work, 5012, 'open') end
  elseif session then
    work.replaces = true
  end
  local request = work.request
  if count_open_sessions(work.account, work.now, request.session_id) >= MAX_SESSIONS then
    return refuse(work, 5006, 'sessions')
  end
end

-- Returns the answer of a request that goes no further, nil = charge it. Nothing is changed before this.
local function identify(work)
  local request = work.request
  local why = clock_error(work.now, request.max_skew_s)
  if why then return refuse(work, 0, why) end
  local kind = request.type
  local answer = open_account(work) or (kind == 'E' and (remembered_event(work) or look_back(work)))
  if answer then return answer end
  if kind ~= 'E' then
    answer = find_session(work)
    if answer then return answer end
    answer = work.session and repetition(work)
    if answer then return answer end
  end
  answer = check_assumptions(work)
  if answer then return answer end
  if kind == 'I' then return check_opening(work) end
  if kind ~= 'E' and not work.session then return refuse(work, 5002, 'session') end
end

local FLAP_S = 86400 -- a country that was left for less than this is no new arrival

-- The serving network is in another country: an event `arrived`, unless the subscriber has just been there.
local function note_country(work)
  local request, account = work.request, work.account
  local country, before = request.country, account.country ~= '' and account.country or 'home'
  if country == '' or country == before then return end
  local kept, flaps = {string.format('%s %.0f,', before, work.now)}, false
  for left, at in string.gmatch(account.seen, '(%w+) (%d+),') do
    local lately = work.now < tonumber(at) + FLAP_S
    if left == country then
      flaps = lately
    elseif lately and left ~= before and #kept < MAX_SEEN then
      kept[#kept + 1] = left .. ' ' .. at .. ','
    end
  end
  account.country, account.seen = country, table.concat(kept)
  if flaps then return end
  local equipment = request.equipment_id ~= '' and request.equipment_id or nil
  journal(work, {k = 'arrived', country = country, plmn = request.plmn, equipment = equipment})
end

-- Create, replace or continue the session. Runs after the agenda.
local function begin_or_resume(work)
  local request, account, session = work.request, work.account, work.session
  local kind, session_id = request.type, request.session_id
  if work.replaces and not work.closed then
    if session.given_up == 0 then give_up(work, session_id, session, 'restarted') end
    if account.sessions[session_id] then forget_session(work, session_id) end
  end
  work.open_sessions = count_open_sessions(account, 0, nil)
  if kind == 'E' or kind == 'I' then
    work.closed = false
    work.session = new_session_for(request, work.now)
    work.open_sessions = work.open_sessions + 1
    note_country(work)
    return
  end
  work.highest_before = session.highest
  if work.closed then
    work.late, work.out_of_order = true, kind == 'U' and session.closing >= 0 and request.number < session.closing
    if kind == 'U' then work.kept_apart = record_number(session, request.number) end
    return
  end
  -- An update that comes after a later one does not change place and relay.
  work.out_of_order = kind == 'U' and request.number < session.highest
  if not work.out_of_order then
    note_country(work)
    session.origin_host = request.origin_host
    session.origin_realm = request.origin_realm
    session.relay = request.relay
    session.place = request.place
    -- The owner stays the same, whichever member of the failover group asks.
    if session.owner == '' then session.owner = request.owner end
    if request.origin_state > 0 then session.origin_state = request.origin_state end
  end
  if session.given_up == 1 then
    session.given_up, work.late, work.open_sessions = 0, true, work.open_sessions + 1
    if kind == 'U' then index_session(work, session_id, session, 'SADD') end
  end
  if kind == 'U' then work.kept_apart = record_number(session, request.number) end
end

-- The facts of the account, after its agenda, must be those by which the request was rated. And the agenda of accounts
-- whose units of the pool have expired must have run: the caller sees to it, once.
local function other_facts(work)
  local request, account = work.request, work.account
  if work.subscriptions then sum_up_subscriptions(work) end
  if account.facts ~= request.facts then return refuse(work, 0, 'facts', account.facts) end
  if work.pool_owners and request.owners_swept == 0 then
    return refuse(work, 0, 'owners', table.concat(sorted_keys(work.pool_owners), ' '))
  end
end
