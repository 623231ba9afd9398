-- The agenda: what is due on the account, and when something is due next (docs/LEDGER.md, "Agenda"). Every script on an
-- account runs it. Fees come before holds.

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function reclaim_from(work, session, excess)
  local account, services = work.account, session.services
  local keys, reclaimed = sorted_keys(services), 0
  for n = 1, #keys do
    local service = services[keys[n]]
    local legs = service.legs
    for m = 1, #legs do
      local leg = legs[m]
      local take = min(leg.held, excess - reclaimed)
      if take > 0 then
        leg.held, account.held, reclaimed = leg.held - take, account.held - take, reclaimed + take
        release_measure(work, leg, 'money', take)
      end
    end
  end
  return reclaimed
end

-- A fee may leave less credit than is held. The difference is taken from holds: first of the request's own session,
-- then of the others by Session-Id; their clients get a RAR.
local function reclaim_excess(work, own_session_id)
  local account = work.account
  local excess, sessions = account.held - account.credit, account.sessions
  if excess <= 0 then return end
  if own_session_id and sessions[own_session_id] then
    excess = excess - reclaim_from(work, sessions[own_session_id], excess)
  end
  local session_ids = sorted_keys(sessions)
  for n = 1, #session_ids do
    if excess <= 0 then return end
    if session_ids[n] ~= own_session_id then
      local reclaimed = reclaim_from(work, sessions[session_ids[n]], excess)
      excess = excess - reclaimed
      if reclaimed > 0 then
        work.reauthorize = work.reauthorize or {}
        work.reauthorize[session_ids[n]] = true
      end
    end
  end
end

-- Sessions and services past their deadline. `keep`: the Session-Id of the request, which is left alone.
local function run_sessions(work, keep)
  local account, due = work.account, nil
  for session_id, session in pairs(account.sessions) do
    if session_id ~= keep and session.deadline <= work.now then
      due = due or {}
      due[#due + 1] = session_id
    elseif session.given_up == 0 then
      for _, service in pairs(session.services) do
        if service.granted > 0 and service.deadline <= work.now then give_up_service(work, service) end
      end
    end
  end
  if not due then return end
  table.sort(due)
  for n = 1, #due do
    local session = account.sessions[due[n]]
    if session and session.given_up == 1 then
      forget_session(work, due[n])
    elseif session then
      give_up(work, due[n], session, 'deadline')
    end
  end
end

local function run_agenda_entries(work)
  local account = work.account
  local agenda = account.agenda
  if #agenda == 0 then return end
  table.sort(agenda, function(entry, next_entry)
    if entry.at ~= next_entry.at then return entry.at < next_entry.at end
    return entry.kind .. ' ' .. entry.ref < next_entry.kind .. ' ' .. next_entry.ref
  end)
  while agenda[1] do
    local entry = agenda[1]
    if entry.at > work.now then break end
    journal(work, {k = 'due', kind = entry.kind, ref = entry.ref})
    table.remove(agenda, 1)
  end
end

-- A measure begins, changes or ends: facts are put together again, and the account's sessions hear of it. `before`:
-- whether it was in force.
local function measure_changed(work, measure, before)
  subscriptions_of(work)
  if measure.kind ~= 'mute' and (before or measure.begun == 1) then work.measures_changed = true end
  if measure.kind == 'bar' and measure.begun == 1 then work.bar_began = true end
end

-- Begin and end measures whose time has come.
local function run_measures(work)
  local account = work.account
  if account.measures == '' then return end
  local measures = measures_of(work)
  table.sort(measures, function(measure, next_measure)
    if measure.kind ~= next_measure.kind then return measure.kind < next_measure.kind end
    return measure.name < next_measure.name
  end)
  local n = 1
  while measures[n] do
    local measure = measures[n]
    local over = measure.until > 0 and measure.until <= work.now
    if over then
      table.remove(measures, n)
      journal_measure(work, measure, 'ended')
    else
      n = n + 1
    end
    if over then
      local before = measure.begun == 1
      measure.begun = 0
      measure_changed(work, measure, before)
    elseif measure.begun == 0 and measure.since <= work.now then
      measure.begun = 1
      journal_measure(work, measure, 'begun')
      measure_changed(work, measure, false)
    end
  end
end

-- Whether anything but counters and the pool may be due. The account's score in the due set is the earliest time of all
-- but one: an unpaid subscription starts as soon as it can be paid, be it by other terms or a new month.
local function anything_due(work)
  local account = work.account
  return account.unpaid > 0 or (account.due > 0 and account.due <= work.now)
end

-- Do all that is due up to now. `keep`: the Session-Id of the request.
local function run_agenda(work, keep)
  work.current_session_id = keep
  wake(work)
  roll_counters(work)
  end_pool_buckets(work)
  run_subscriptions(work)
  tell_period_ends(work)
  reclaim_excess(work, keep)
  run_sessions(work, keep)
  run_agenda_entries(work)
  run_measures(work)
  trim_ended(work)
end

-- Unix time when something is due next; 0 = never.
local function next_due(work)
  local account, due = work.account, UNBOUNDED
  local agenda = account.agenda
  if work.subscriptions then sum_up_subscriptions(work) end
  if account.subscriptions_due > 0 then due = account.subscriptions_due end
  for n = 1, #agenda do
    local entry = agenda[n]
    due = min(due, entry.at)
  end
  local measures = (work.measures or account.measures ~= '') and measures_of(work) or {}
  for n = 1, #measures do
    local measure = measures[n]
    if measure.until > 0 then due = min(due, measure.until) end
    if measure.begun == 0 then due = min(due, measure.since) end
  end
  for _, session in pairs(account.sessions) do
    due = min(due, session.deadline)
    if session.given_up == 0 then
      for _, service in pairs(session.services) do
        if service.granted > 0 then due = min(due, service.deadline) end
      end
    end
  end
  due = min(due, life_due(work))
  return due == UNBOUNDED and 0 or due
end

-- Move the score in the due set forward, if something is due earlier. A later time is left to the sweeper. `deadline`:
-- the earliest time that this script has set; work.due_changed: other times have changed.
local function schedule_earlier(work, deadline)
  local account = work.account
  if not work.due_changed and account.due > 0 and account.due <= deadline then return end
  local due = next_due(work)
  if due > 0 and (account.due == 0 or due < account.due) then
    account.due = due
    redis.call('ZADD', work.keys.due, due, work.account_id)
  end
end

local function reschedule(work)
  local account, due = work.account, next_due(work)
  if due > 0 then
    if due ~= account.due then redis.call('ZADD', work.keys.due, due, work.account_id) end
  elseif account.due ~= 0 then
    redis.call('ZREM', work.keys.due, work.account_id)
  end
  account.due = due
end

-- RAR to sessions that lost a hold to a fee; after a period has begun, to sessions that lack money or units; when the
-- rates or bars of the account have changed, to all; ASR to those of which a new bar leaves nothing.
local function notify_reclaimed(work)
  if work.reauthorize then
    notify(work, 'reauthorize', 'reclaim', work.now, function(_, session_id) return work.reauthorize[session_id] end)
  end
  if work.period_began then notify(work, 'reauthorize', 'package', work.now, lacks_funds) end
  local account, request = work.account, work.request
  if work.measures_changed or account.facts ~= work.facts_before then
    local own = request and request.session_id
    local reason = work.measures_changed and 'measure' or 'facts'
    local function is_cut(session) return work.bar_began and is_barred(work, session) end
    notify(work, 'abort', reason, work.now, function(session, session_id)
      return session_id ~= own and is_cut(session)
    end)
    notify(work, 'reauthorize', reason, work.now, function(session, session_id)
      return session_id ~= own and not is_cut(session)
    end)
  end
end

-- Load the account and run its agenda: the beginning of every script on an account but charge.lua. `keep`: a session
-- that the agenda leaves alone; `ended_too`: a terminated account is loaded too. Returns `work`, or nil and the result
-- word.
local function begin_work(id, args, keys, keep, ended_too)
  local why = clock_error(args.now, args.max_skew_s)
  if why then return nil, why end
  local document = redis.call('GET', keys.account)
  if not document then return nil, 'unknown' end
  local account, reason = read_document('account', document)
  if not account then return nil, reason end
  if account.moved_to ~= '' then return nil, 'moved ' .. account.moved_to end
  local work = {account_id = id, now = args.now, month = args.month, day = args.day, account = account, events = {},
    keys = keys, facts_before = account.facts, life = args.life}
  reason = load_pool(work, args.pool)
  if reason then return nil, reason == 'pool' and 'pool ' .. account.pool or reason end
  if account.state == 't' and not ended_too then return nil, 'state' end
  run_agenda(work, keep)
  work.by = args.by ~= '' and args.by or nil
  return work
end

-- Pay fees that the change made payable, then save: the end of every script that began with `begin_work`.
local function end_work(work)
  run_subscriptions(work)
  reclaim_excess(work, nil)
  journal_low_credit(work)
  local account = work.account
  if account.auto_below > 0 then ask_top_up(work) end
  reschedule(work)
  save(work)
  local journalled = journal_all(work)
  notify_reclaimed(work)
  return journalled
end

-- Terminate the account: abort its sessions, pay what early ends of commitments cost (`ends`, see pay_last_shares), expire
-- its credit and units, free its MSISDN. Returns the micro-EUR of the shares that stay unpaid.
local function terminate(work, asked_at, reason, reference, ends)
  local account, lost, was = work.account, 0, state_at(work.account, work.now)
  notify(work, 'abort', 'state', asked_at, any_session)
  local session_ids = sorted_keys(account.sessions)
  for n = 1, #session_ids do
    local session = account.sessions[session_ids[n]] -- nil if `give_up` has dropped it: MAX_GIVEN_UP are kept
    if session and session.given_up == 0 then give_up(work, session_ids[n], session, 'terminated') end
  end
  session_ids = sorted_keys(account.sessions)
  for n = 1, #session_ids do forget_session(work, session_ids[n]) end
  local subscriptions, unpaid = subscriptions_of(work), pay_last_shares(work, ends)
  for n = 1, #subscriptions do end_buckets(work, subscriptions[n]) end
  if reference then pay_out(work, reference, reason) end
  lost = account.credit
  local own = account.separate
  account.state, account.credit, account.separate, account.expired = 't', 0, 0, account.expired + lost + own
  work.subscriptions, account.buckets, account.agenda, account.sessions, account.pool = {}, {}, '', {}, ''
  work.measures = {}
  journal(work, {k = 'terminated', debit = lost, credit = 0, was = was, reason = reason,
    unpaid = some(unpaid), separate_out = some(own), promo = some(account.promotional)})
  account.promotional = 0
  if account.auto_below > 0 then redis.call('ZREM', key_prefix(work) .. 'topups', work.account_id) end
  -- The audit finds a terminated account by this entry.
  redis.call('HSET', work.keys.own, 'x' .. work.account_id, work.account_id)
  redis.call('HDEL', work.keys.own, 'm' .. account.msisdn)
  return unpaid
end
