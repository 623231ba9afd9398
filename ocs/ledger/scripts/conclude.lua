-- Step 7: one-off debits, the Result-Code at command level, RARs, events, the session's new state, the remembered
-- answer, one save.

local RECLAIM_EVERY_S = 60 -- least time between two RARs that ask a session to return money
local RECORD_EVERY_S = 3600 -- time between two charging records of a long session

-- Counters that a debit moves, for a later refund: {counter id, measure, window}.
local function counter_windows(work, ids)
  local account, list = work.account, {}
  for n = 1, #ids do
    local counter = find_counter(account, ids[n])
    if counter then list[#list + 1] = {ids[n], counter.measure, window_of(counter, work.now)} end
  end
  return list
end

-- Debit one service. Returns what a refund may give back: {key, {for each leg {raw units, price, units paid by credit
-- before, units paid by credit now, {{bucket id, units, instance, pooled, pool id}}, {{counter id, measure, window}},
-- price of credit, promotional part of the money}}}.
local function debit_service(work, item)
  local result, service = item.result, item.service
  local legs, parts = service.legs, {}
  item.at_request_price, item.detail = true, service.detail
  for m = 1, #legs do
    local leg = legs[m]
    local rate = rate_of(leg)
    local price = rate.price
    local promotional = work.promotional
    item.paid_by = {}
    local for_credit, before, by_credit = settle_leg(work, item, leg, price, result.granted, {})
    local counters = counter_windows(work, rate.counters)
    parts[m] = {result.granted, price, before, by_credit, item.paid_by, counters, for_credit,
      work.promotional - promotional}
  end
  return {result.key, parts}
end

-- A one-off event is paid whole or not at all (IEC, RFC 8506 §6.3). Returns what a refund may give back (nil = nothing
-- was debited), and whether all was paid.
local function debit_event(work)
  local items, whole = work.items, true
  for n = 1, #items do
    local item = items[n]
    local requested, result = item.requested, item.result
    if result.restricted then result.code, result.restricted = 4012, false end
    if result.code == 2001 and result.granted < requested.want then
      result.code, result.final = 4012, false
      if result.reason == '' then result.reason = 'credit' end
    end
    if result.code ~= 2001 then whole = false end
  end
  for n = 1, #items do
    local item = items[n]
    release_service(work, item.service, false)
  end
  local debited = {uid_of(work.account_id)}
  for n = 1, #items do
    local item = items[n]
    local result = item.result
    if not whole then
      result.granted, result.final = 0, false
    elseif not work.is_balance_check and result.granted > 0 then
      debited[#debited + 1] = debit_service(work, item)
    end
  end
  return whole and #debited > 1 and debited or nil, whole
end

-- Result-Code and reason at command level. It is a refusal when an opening gets nothing for one reason, when any part
-- of a one-off debit is refused, and always when the account is inactive.
local function command_level(work)
  local request, items = work.request, work.items
  local all, by_state, code, reason = #items > 0, #items > 0, nil, nil
  local one_off, refusal = request.type == 'E' and not work.is_balance_check, nil
  for n = 1, #items do
    local item = items[n]
    local result = item.result
    code, reason = code or result.code, reason or result.reason
    if result.code == 2001 or result.code ~= code then all = false end
    if result.code ~= 4010 or (result.reason ~= 'state' and result.reason ~= 'equipment') then by_state = false end
    if result.code ~= 2001 and not refusal then refusal = {result.code, result.reason} end
  end
  if one_off and refusal then return refusal[1], refusal[2] end
  if work.closed then
    local session = work.session
    if request.type ~= 'T' and not work.out_of_order then return 5002, 'session' end
    return 2001, session.refused == 1 and 'refused' or ''
  end
  if request.type ~= 'T' and ((all and request.type ~= 'U' and not work.is_balance_check) or by_state) then
    return code, reason
  end
  return 2001, ''
end

-- RAR to the account's other sessions that hold money. `why`: "reclaim" (at most once in RECLAIM_EVERY_S per session)
-- or "threshold".
local function reauthorize_holders(work, why)
  local request = work.request
  notify(work, 'reauthorize', why, work.now, function(session, session_id)
    if session_id == request.session_id then return false end
    for _, service in pairs(session.services) do
      local legs = service.legs
      for n = 1, #legs do
        local leg = legs[n]
        if leg.held > 0 then
          if why == 'reclaim' then
            if work.now - session.asked_back_at < RECLAIM_EVERY_S then return false end
            session.asked_back_at = work.now
          end
          return true
        end
      end
    end
    return false
  end)
end

-- A service got nothing, or its final units, while other sessions of the account hold money: these get a RAR.
local function reclaim_for_shortage(work)
  local account, items = work.account, work.items
  if account.held <= 0 then return end
  for n = 1, #items do
    local item = items[n]
    local result = item.result
    local lacks = result.reason == 'credit' or result.reason == 'limit'
    if lacks and (result.final or result.code == 4012 or result.restricted) then
      reauthorize_holders(work, 'reclaim')
      return
    end
  end
end

-- Tcc: the latest deadline of what is granted now (RFC 8506 §13).
local function set_deadline(work)
  local request, session = work.request, work.session
  session.deadline = request.deadline
  for _, service in pairs(session.services) do
    local phase = service.phase
    local runs = service.granted > 0 or phase == RESTRICTED or phase == SLOWED
    if runs and service.deadline > session.deadline then
      session.deadline = service.deadline
    end
  end
end

local function close_or_keep(work, code)
  local request, account, session = work.request, work.account, work.session
  local session_id, kind = request.session_id, request.type
  if kind == 'E' then return end
  if work.closed then
    work.tombstone = make_tombstone(work, session)
  elseif kind == 'T' then
    session.closing = request.number
    index_session(work, session_id, session, 'SREM')
    account.sessions[session_id] = nil
    work.tombstone = make_tombstone(work, session)
  elseif kind == 'I' and code ~= 2001 then
    session.refused = 1
    work.tombstone = make_tombstone(work, session)
  else
    set_deadline(work)
    if kind == 'I' then index_session(work, session_id, session, 'SADD') end
    account.sessions[session_id] = session
    if code ~= 2001 then give_up(work, session_id, session, 'refused') end
  end
end

-- Journal a charging record at the end of a session, every RECORD_EVERY_S of a long one, and for one-off and refused
-- requests. Any other debit is a small event "use".
local function journal_request(work, code, one_off)
  local request, account, session = work.request, work.account, work.session
  local kind, records = request.type, false
  if kind == 'T' or (kind == 'E' and not work.is_balance_check) or (kind == 'I' and code ~= 2001) or work.closed then
    records = true
  elseif session.given_up == 0 and work.now - session.recorded_at >= RECORD_EVERY_S then
    records = true
  end
  if records then
    local services = (kind == 'E' and not one_off) and {} or recorded_services(session)
    session.recorded_at = work.now
    journal(work, {k = 'charge', sid = request.session_id, ctx = request.context, typ = kind, n = request.number,
      svc = services, code = code, debit = work.debit, credit = account.credit, closed = kind ~= 'U' or work.closed,
      late = work.late or false, started = session.started, promo = some(work.promotional),
      chg = session.charging_id ~= '' and session.charging_id or nil})
  elseif work.debit ~= 0 then
    journal(work, {k = 'use', sid = request.session_id, typ = kind, n = request.number, debit = work.debit,
      credit = account.credit, promo = some(work.promotional)})
  end
end

local function outcome_of(work, code, reason)
  local request, account, session, outcome = work.request, work.account, work.session, new_outcome()
  if work.subscriptions then sum_up_subscriptions(work) end
  outcome.code = code
  outcome.reason = reason
  outcome.credit_micro_eur = account.credit
  outcome.held_micro_eur = account.held
  outcome.session_cost_micro_eur = session.cost
  outcome.period_end = period_end_of(work)
  outcome.late = work.late or false
  outcome.at = work.now
  outcome.place = request.expected_location ~= '' and request.place or ''
  local results, items = outcome.services, work.items
  for n = 1, #items do
    local item = items[n]
    results[n] = item.result
  end
  return outcome
end

-- Delete answers of updates that are ANSWERS_KEPT or more behind the highest: `update_status` refuses their
-- repetitions.
local function forget_old_answers(work)
  local session, before = work.session, work.highest_before
  local oldest = session.highest - ANSWERS_KEPT
  if session.highest == before or oldest < 0 then return end
  if session.highest == before + 1 then
    redis.call('HDEL', work.keys.own, 'U' .. string.format('%.0f', oldest))
    return
  end
  local fields = redis.call('HKEYS', work.keys.own)
  for n = 1, #fields do
    local number = string.match(fields[n], '^U(%d+)$')
    if number and tonumber(number) <= oldest then redis.call('HDEL', work.keys.own, fields[n]) end
  end
end

-- Remember the answer. A refused opening or debit is not remembered: its repetition is evaluated anew.
local function remember(work, outcome, debited, code)
  local request = work.request
  local kind, number = request.type, request.number
  if kind == 'E' and code ~= 2001 and not work.is_balance_check then return end
  -- Answers of an earlier session with this Session-Id are deleted; a refused opening that is repeated belongs to the
  -- same session.
  local is_new = kind == 'I' and (code == 2001 or not work.retried_refusal)
  local old_fields = is_new and redis.call('HKEYS', work.keys.own) or {}
  if kind == 'I' and code ~= 2001 then
    redis.call('HSET', work.keys.own, 'closed', work.tombstone)
    work.answer_field = 'closed'
  elseif kind == 'E' and debited then
    redis.call('HSET', work.keys.own, work.answer_field, outcome, 'f' .. work.answer_field, fingerprint_of(work),
      'p' .. string.format('%.0f', number), pack(debited))
  elseif kind == 'E' or kind == 'I' then
    redis.call('HSET', work.keys.own, work.answer_field, outcome, 'f' .. work.answer_field, fingerprint_of(work))
  elseif work.tombstone then
    redis.call('HSET', work.keys.own, work.answer_field, outcome, 'closed', work.tombstone)
  else
    redis.call('HSET', work.keys.own, work.answer_field, outcome)
  end
  -- Write first, then delete: while a cluster moves the slot, a key that became empty could not be created again.
  for n = 1, #old_fields do
    if old_fields[n] ~= work.answer_field and old_fields[n] ~= 'f' .. work.answer_field then
      redis.call('HDEL', work.keys.own, old_fields[n])
    end
  end
  if kind == 'U' then forget_old_answers(work) end
  if kind == 'E' or work.tombstone then
    redis.call('EXPIRE', work.keys.own, work.tombstone and max(request.remember_s, TOMBSTONE_S) or request.remember_s)
  end
end

-- Seconds that the session's answers must live from now on; false = their TTL is long enough. A quarter is added, so
-- that not every update prolongs it.
local function prolong_answers(work)
  local request, session = work.request, work.session
  local live_s = request.remember_s + session.deadline - request.deadline
  if session.answers_until >= work.now + live_s then return false end
  live_s = live_s + idiv(live_s, 4)
  session.answers_until = work.now + live_s
  return live_s
end

local function conclude(work)
  local request, account = work.request, work.account
  local debited, whole = nil, false
  if request.type == 'E' then debited, whole = debit_event(work) end
  keep_or_undo_life(work)
  if request.type == 'E' then count(work) end
  local code, reason = command_level(work)
  reclaim_for_shortage(work)
  if work.limit_reached and account.held > 0 then reauthorize_holders(work, 'threshold') end
  journal_request(work, code, whole)
  journal_low_credit(work)
  if account.auto_below > 0 then ask_top_up(work) end
  close_or_keep(work, code)
  notify_reclaimed(work)
  local outcome = pack(outcome_of(work, code, reason))
  schedule_earlier(work, request.deadline)
  local live_s = request.type ~= 'E' and request.type ~= 'T' and not work.closed and code == 2001
    and prolong_answers(work)
  save(work)
  local flags = journal_all(work) and JOURNALLED or 0
  remember(work, outcome, debited, code)
  if live_s then
    redis.call('EXPIRE', work.keys.own, live_s)
    flags = flags + PROLONGED
  end
  if work.reused and code == 2001 then flags = flags + REUSED end
  return {flags, outcome}
end

-- Balance check: the outcome that a debit would have. Only the answer is kept (RFC 8506 §6.2).
local function check_balance(work)
  local request, account = work.request, work.account
  run_agenda(work, nil)
  local credit, held = account.credit, account.held
  begin_life(work)
  local answer = other_facts(work)
  if answer then return answer end
  begin_or_resume(work)
  add_counters(work)
  release(work)
  settle(work)
  reserve(work)
  debit_event(work)
  keep_or_undo_life(work)
  local outcome = outcome_of(work, command_level(work))
  outcome.credit_micro_eur, outcome.held_micro_eur = credit, held
  local packed = pack(outcome)
  redis.call('HSET', work.keys.own, work.answer_field, packed, 'f' .. work.answer_field, fingerprint_of(work))
  redis.call('EXPIRE', work.keys.own, request.remember_s)
  return {0, packed}
end
