-- Give back what a one-off debit took (REFUND_ACCOUNT, RFC 8506 §6.4): at most what is left of it, what credit paid first.
--
-- KEYS  1 to 4 as charge.lua  5 answers of events under the refund's Session-Id  6 pool  7 those under the debit's
-- ARGV  1 account id  2 msgpack map: identity, session_id, number, debit_number, context, remember_s, services [{key, units wanted or -1}],
--         looked_back, now, month, day, max_skew_s, pool
-- Result  as charge.lua; refunded money is a negative debit. Code 5012 with "no_debit" (of this account there is none, or it is forgotten)
--         or "nothing_left".
-- What a debit left to give back: {account id, month, then {key, raw units, legs: {{price, credit units paid before it, credit units, {{bucket
--   id, units, instance, pooled}}, counters}}} for each service}.

local q = unpack_value(ARGV[2])
local w = {id = ARGV[1], now = q.now, month = q.month, day = q.day, events = {}, field = 'R' .. string.format('%.0f', q.number),
  keys = named_keys(KEYS)}
local debits_field = 'p' .. string.format('%.0f', q.debit_number)

local function refuse(code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place = code, reason, place or ''
  return {0, pack(outcome)}
end

local function open_account()
  local why = wrong_clock(q.now, q.max_skew_s)
  if why then return refuse(0, why) end
  local document = redis.call('GET', KEYS[1])
  if not document then return refuse(5030, 'unknown') end
  local account, reason = unpacked('account', document)
  if not account then return refuse(0, reason) end
  if account.moved_to ~= '' then return refuse(0, 'moved', account.moved_to) end
  w.account = account
  if account.moved_from ~= '' and w.now < account.look_back_until and q.looked_back ~= account.moved_from then
    return refuse(0, 'look_back', account.moved_from)
  end
  local named = q.identity ~= ''
  if named and q.identity ~= 'm' .. account.msisdn and q.identity ~= 'i' .. account.imsi then return refuse(0, 'identity') end
  if account.state == 't' then return refuse(named and 0 or 4010, named and 'identity' or 'state') end
  why = load_pool(w, q.pool)
  if why then return refuse(0, why, account.pool) end
end

-- What is left of the services that are named; one that names none means all of them, and a debit of one service need not be named right.
local function parts_for(left, key)
  local found = {}
  for n = 3, #left do
    if left[n][2] > 0 and (key == '-' or #left == 3 or left[n][1] == key) then found[#found + 1] = left[n] end
  end
  return found
end

local function give_units(paid_by, units)
  local given, account, pool = {}, w.account, w.pool
  for n = #paid_by, 1, -1 do
    local id, had, instance, pooled = unpack(paid_by[n])
    local take = min(units, had)
    if take > 0 then
      units, paid_by[n][2] = units - take, had - take
      local buckets = pooled == 0 and account.buckets or (pool and pool.buckets or {})
      local bucket = find_instance(buckets, instance)
      if bucket and bucket.ended == 0 and bucket.ends > w.now then
        if bucket.left >= 0 then bucket.left = bucket.left + take end
        w.pool_changed = w.pool_changed or pooled == 1
        given[#given + 1] = {id, take}
      end
    end
  end
  return given
end

-- Of one service: raw units back, money, units given. nil = nothing comes back, as its units were of a period that is over.
local function give_back(left, part, want)
  local raw, legs = part[2], part[3]
  local back = want < 0 and raw or min(want, raw)
  local money, given, owed, by_credit = 0, {}, 0, 0
  for n = 1, #legs do
    local price, before, credit, paid_by, counters = unpack(legs[n])
    local units = billable(price, raw) - billable(price, raw - back)
    local from_credit = min(units, credit)
    local refunded = cost(price, before + credit) - cost(price, before + credit - from_credit)
    legs[n][3] = credit - from_credit
    local units_given = give_units(paid_by, units - from_credit)
    for m = 1, #units_given do given[#given + 1] = units_given[m] end
    money, owed, by_credit = money + refunded, owed + units, by_credit + from_credit
    give_counters_back(w, counters, left[2], refunded)
  end
  part[2] = raw - back
  if owed > 0 and by_credit == 0 and #given == 0 then return nil end
  local price = legs[1][1]
  return {key = part[1], price = price.id, used = back, credit_in = money, units = given}
end

local function refund(left)
  local account, services, returned, lines = w.account, {}, 0, {}
  for n = 1, #q.services do
    local key, want = unpack(q.services[n])
    local parts = parts_for(left, key)
    for m = 1, key == '-' and #parts or min(#parts, 1) do
      local event = give_back(left, parts[m], want)
      if event then
        local line, units = new_line(), 0
        for k = 1, #event.units do units = units + event.units[k][2] end
        line.key, line.granted, line.debited_micro_eur, line.debited_units = event.key, event.used, -event.credit_in, -units
        services[#services + 1], lines[#lines + 1], returned = event, line, returned + event.credit_in
        if want >= 0 then want = max(want - event.used, 0) end
      end
    end
  end
  return services, lines, returned
end

local stored = redis.call('HGET', KEYS[5], w.field)
if stored then return {1, stored} end
local refused = open_account()
if refused then return refused end
local left = redis.call('HGET', KEYS[7], debits_field)
left = left and unpack_value(left)
if not left or left[1] ~= w.id then return refuse(5012, 'no_debit') end
run_agenda(w, nil)
local services, lines, returned = refund(left)
if #services == 0 then return refuse(5012, 'nothing_left') end

local account, outcome = w.account, new_outcome()
account.credit, account.spent = account.credit + returned, account.spent - returned
journal(w, {k = 'refund', sid = q.session_id, ctx = q.context, n = q.number, svc = services, credit_in = returned, credit = account.credit})
end_work(w)
outcome.code, outcome.services, outcome.credit_micro_eur, outcome.held_micro_eur = 2001, lines, account.credit, account.held
outcome.session_cost_micro_eur, outcome.period_end, outcome.at = -returned, period_end(account), w.now
local packed = pack(outcome)
redis.call('HSET', KEYS[7], debits_field, pack(left))
redis.call('HSET', KEYS[5], w.field, packed)
if KEYS[5] ~= KEYS[7] then redis.call('EXPIRE', KEYS[5], q.remember_s) end
notify(w, 'reauthorize', 'refund', w.now, starving)
return {2, packed}
