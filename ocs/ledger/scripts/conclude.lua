-- Step 7: the code at command level, one-off debits, what becomes of the session, notices, events, the answer remembered, one save.

local RECLAIM_EVERY_S = 60 -- a session is asked so often to return credit it holds to one that starves
local RECORD_EVERY_S = 3600 -- a long session has a charging record so often

-- What a counter was moved by, for a refund: {counter id, measure, window}.
local function counted(w, ids)
  local account, list = w.account, {}
  for n = 1, #ids do
    local counter = find_counter(account, ids[n])
    if counter then list[#list + 1] = {ids[n], counter.measure, window_of(counter, w.now)} end
  end
  return list
end

-- What is left of a service's debit to give back: {key, {{raw units, price, credit units paid before it, credit units, {{bucket id, units,
-- instance, pooled}}, {{counter id, measure, window}}} for each leg}}.
local function debit_service(w, item)
  local line, service, session = item.line, item.service, w.session
  local legs, parts = service.legs, {}
  item.own, item.detail = true, service.detail
  for m = 1, #legs do
    local leg = legs[m]
    local rate = rate_of(leg)
    local price = rate.price
    local before = paid_at(session, price)
    item.paid_by = {}
    settle_leg(w, item, leg, price, line.granted, {})
    parts[m] = {line.granted, price, before, paid_at(session, price) - before, item.paid_by, counted(w, rate.counters)}
  end
  return {line.key, parts}
end

-- A one-off event is paid whole at once or not at all (IEC, RFC 8506 §6.3). Returns what a refund may give back, nil if nothing was debited.
local function debit_event(w)
  local items, whole = w.items, true
  for n = 1, #items do
    local item = items[n]
    local asked, line = item.asked, item.line
    if line.restricted then line.code, line.restricted = 4012, false end
    if line.code == 2001 and line.granted < asked.want then
      line.code, line.final = 4012, false
      if line.reason == '' then line.reason = 'credit' end
    end
    if line.code ~= 2001 then whole = false end
  end
  for n = 1, #items do
    local item = items[n]
    release_service(w, item.service, false)
  end
  local debited = {w.uid}
  for n = 1, #items do
    local item = items[n]
    local line = item.line
    if not whole then
      line.granted, line.final = 0, false
    elseif not w.look and line.granted > 0 then
      debited[#debited + 1] = debit_service(w, item)
    end
  end
  return whole and #debited > 1 and debited or nil, whole
end

-- One refusal for all when an opening gets nothing at all, or when a part of a one-off debit is refused; an inactive account always.
local function command_level(w)
  local request, items = w.request, w.items
  local all, by_state, code, reason = #items > 0, #items > 0, nil, nil
  local one_off, refusal = request.type == 'E' and not w.look, nil
  for n = 1, #items do
    local item = items[n]
    local line = item.line
    code, reason = code or line.code, reason or line.reason
    if line.code == 2001 or line.code ~= code then all = false end
    if line.code ~= 4010 or line.reason ~= 'state' then by_state = false end
    if line.code ~= 2001 and not refusal then refusal = {line.code, line.reason} end
  end
  if one_off and refusal then return refusal[1], refusal[2] end
  if w.closed then
    local session = w.session
    if request.type ~= 'T' and not w.overtaken then return 5002, 'session' end
    return 2001, session.refused == 1 and 'refused' or ''
  end
  if request.type ~= 'T' and ((all and request.type ~= 'U' and not w.look) or by_state) then return code, reason end
  return 2001, ''
end

-- Others of the account hold what a service here lacks, or hold grants of a limit that has now been reached.
local function ask_back(w, why)
  local request = w.request
  notify(w, 'reauthorize', why, w.now, function(session, sid)
    if sid == request.session_id then return false end
    for _, service in pairs(session.services) do
      local legs = service.legs
      for n = 1, #legs do
        local leg = legs[n]
        if leg.held > 0 then
          if why == 'reclaim' then
            if w.now - session.asked_back_at < RECLAIM_EVERY_S then return false end
            session.asked_back_at = w.now
          end
          return true
        end
      end
    end
    return false
  end)
end

-- A service got nothing, or its last, while others of the account hold money: they are asked.
local function ask_for_the_starved(w)
  local account, items = w.account, w.items
  if account.held <= 0 then return end
  for n = 1, #items do
    local item = items[n]
    local line = item.line
    local lacks = line.reason == 'credit' or line.reason == 'limit'
    if lacks and (line.final or line.code == 4012 or line.restricted) then
      ask_back(w, 'reclaim')
      return
    end
  end
end

-- Supervised until twice the longest validity of what is granted now (RFC 8506 §13).
local function supervise(w)
  local request, session = w.request, w.session
  session.deadline = request.deadline
  for _, service in pairs(session.services) do
    if (service.granted > 0 or service.phase == RESTRICTED) and service.deadline > session.deadline then session.deadline = service.deadline end
  end
end

-- What becomes of the session.
local function close_or_keep(w, code)
  local request, account, session = w.request, w.account, w.session
  local sid, kind = request.session_id, request.type
  if kind == 'E' then return end
  if w.closed then
    w.tombstone = tombstone_of(w, session)
  elseif kind == 'T' then
    session.closing = request.number
    index_session(w, sid, session, 'SREM')
    account.sessions[sid] = nil
    w.tombstone = tombstone_of(w, session)
  elseif kind == 'I' and code ~= 2001 then
    session.refused = 1
    w.tombstone = tombstone_of(w, session)
  else
    supervise(w)
    if kind == 'I' then index_session(w, sid, session, 'SADD') end
    account.sessions[sid] = session
    if code ~= 2001 then give_up(w, sid, session, 'refused') end
  end
end

-- The charging record at the end, once in a while before it, and for what is one-off or refused; a small event for other movements.
local function journal_request(w, code, one_off)
  local request, account, session = w.request, w.account, w.session
  local kind, records = request.type, false
  if kind == 'T' or (kind == 'E' and not w.look) or (kind == 'I' and code ~= 2001) or w.closed then
    records = true
  elseif session.given_up == 0 and w.now - session.recorded_at >= RECORD_EVERY_S then
    records = true
  end
  if records then
    local services = (kind == 'E' and not one_off) and {} or recorded_services(session)
    session.recorded_at = w.now
    journal(w, {k = 'charge', sid = request.session_id, ctx = request.context, typ = kind, n = request.number, svc = services, code = code,
      debit = w.taken, credit = account.credit, closed = kind ~= 'U' or w.closed, late = w.late or false, started = session.started})
  elseif w.taken ~= 0 then
    journal(w, {k = 'use', sid = request.session_id, typ = kind, n = request.number, debit = w.taken, credit = account.credit})
  end
end

local function outcome_of(w, code, reason)
  local request, account, session, outcome = w.request, w.account, w.session, new_outcome()
  if w.subscriptions then sum_up_subscriptions(w) end
  outcome.code, outcome.reason, outcome.credit_micro_eur, outcome.held_micro_eur = code, reason, account.credit, account.held
  outcome.session_cost_micro_eur, outcome.period_end, outcome.late, outcome.at = session.cost, account.period_ends, w.late or false, w.now
  outcome.place = request.expected_location ~= '' and request.place or ''
  local lines, items = outcome.services, w.items
  for n = 1, #items do
    local item = items[n]
    lines[n] = item.line
  end
  return outcome
end

-- Answers so far behind that their numbers are no longer known are forgotten.
local function forget_far_behind(w)
  local session, before = w.session, w.highest_before
  local oldest = session.highest - ANSWERS_KEPT
  if session.highest == before or oldest < 0 then return end
  if session.highest == before + 1 then
    redis.call('HDEL', w.keys.own, 'U' .. string.format('%.0f', oldest))
    return
  end
  local fields = redis.call('HKEYS', w.keys.own)
  for n = 1, #fields do
    local number = string.match(fields[n], '^U(%d+)$')
    if number and tonumber(number) <= oldest then redis.call('HDEL', w.keys.own, fields[n]) end
  end
end

-- The answer is remembered. That of a refused opening or debit is not: it is evaluated anew when it comes again.
local function remember(w, outcome, debited, code)
  local request = w.request
  local kind, number = request.type, request.number
  if kind == 'E' and code ~= 2001 and not w.look then return end
  -- What was answered to a session before it is not for this one; a refused opening that is tried again is of the same session.
  local stale = kind == 'I' and (code == 2001 or not w.tried_again) and redis.call('HKEYS', w.keys.own) or {}
  if kind == 'I' and code ~= 2001 then
    redis.call('HSET', w.keys.own, 'closed', w.tombstone)
    w.field = 'closed'
  elseif kind == 'E' and debited then
    redis.call('HSET', w.keys.own, w.field, outcome, 'f' .. w.field, mark_of(w), 'p' .. string.format('%.0f', number), pack(debited))
  elseif kind == 'E' or kind == 'I' then
    redis.call('HSET', w.keys.own, w.field, outcome, 'f' .. w.field, mark_of(w))
  elseif w.tombstone then
    redis.call('HSET', w.keys.own, w.field, outcome, 'closed', w.tombstone)
  else
    redis.call('HSET', w.keys.own, w.field, outcome)
  end
  -- Nothing is deleted before it is written anew: on a slot that moves away, a key that is gone cannot be made again.
  for n = 1, #stale do
    if stale[n] ~= w.field and stale[n] ~= 'f' .. w.field then redis.call('HDEL', w.keys.own, stale[n]) end
  end
  if kind == 'U' then forget_far_behind(w) end
  if kind == 'E' or w.tombstone then redis.call('EXPIRE', w.keys.own, w.tombstone and max(request.remember_s, TOMBSTONE_S) or request.remember_s) end
end

-- They live a quarter longer than they must, so that not every update has to prolong them. Returns seconds, false = long enough.
local function prolong_answers(w)
  local request, session = w.request, w.session
  local live_s = request.remember_s + session.deadline - request.deadline
  if session.answers_until >= w.now + live_s then return false end
  live_s = live_s + idiv(live_s, 4)
  session.answers_until = w.now + live_s
  return live_s
end

local function conclude(w)
  local request, account = w.request, w.account
  local debited, whole = nil, false
  if request.type == 'E' then debited, whole = debit_event(w) end
  if request.type == 'E' then count(w) end
  local code, reason = command_level(w)
  ask_for_the_starved(w)
  if w.full and account.held > 0 then ask_back(w, 'threshold') end
  journal_request(w, code, whole)
  close_or_keep(w, code)
  tell_claimed(w)
  local outcome = pack(outcome_of(w, code, reason))
  plan_earlier(w, request.deadline)
  local live_s = request.type ~= 'E' and request.type ~= 'T' and not w.closed and code == 2001 and prolong_answers(w)
  save(w)
  local flags = journal_all(w) and JOURNALLED or 0
  remember(w, outcome, debited, code)
  if live_s then
    redis.call('EXPIRE', w.keys.own, live_s)
    flags = flags + PROLONGED
  end
  if w.reused and code == 2001 then flags = flags + REUSED end
  return {flags, outcome}
end

-- A balance check: what a debit would get, with nothing kept but its answer (RFC 8506 §6.2).
local function look(w)
  local request, account = w.request, w.account
  run_agenda(w, nil)
  local credit, held = account.credit, account.held
  take_up(w)
  add_counters(w)
  release(w)
  settle(w)
  reserve(w)
  debit_event(w)
  local outcome = outcome_of(w, command_level(w))
  outcome.credit_micro_eur, outcome.held_micro_eur = credit, held
  local packed = pack(outcome)
  redis.call('HSET', w.keys.own, w.field, packed, 'f' .. w.field, mark_of(w))
  redis.call('EXPIRE', w.keys.own, request.remember_s)
  return {0, packed}
end
