-- Give back what a one-off debit took (REFUND_ACCOUNT, RFC 8506 §6.4): at most what is left of it, what credit paid first.
--
-- KEYS  1 to 4 as charge.lua  5 answers of events under the refund's Session-Id  6 pool  7 those under the debit's
-- ARGV  1 account id  2 msgpack map: identity, session_id, number, debit_number, context, remember_s, services [{key, units wanted or -1}],
--         looked_back, now, month, day, max_skew_s, pool
-- Result  as charge.lua; refunded money is a negative debit. Code 5012 with "no_debit" (of this account there is none, or it is forgotten)
--         or "nothing_left".
-- What a debit left to give back: {what stays of the account's id, then for each service what `debit_service` made (conclude.lua)}.

local q = unpack_value(ARGV[2])
local w = {id = ARGV[1], now = q.now, month = q.month, day = q.day, events = {}, field = 'R' .. string.format('%.0f', q.number),
  keys = named_keys(KEYS)}
local debits_field = 'p' .. string.format('%.0f', q.debit_number)

local function refuse(code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place, outcome.at = code, reason, place or '', q.now
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
  local stored = redis.call('HGET', KEYS[5], w.field)
  if stored then return {DUPLICATE, stored} end
  if account.moved_from ~= '' and w.now < account.look_back_until and q.looked_back ~= account.moved_from then
    return refuse(0, 'look_back', account.moved_from)
  end
  local named = q.identity ~= ''
  if named and q.identity ~= 'm' .. account.msisdn and q.identity ~= 'i' .. account.imsi then return refuse(0, 'identity') end
  if account.state == 't' and named then return refuse(0, 'identity') end
  why = load_pool(w, q.pool)
  if why then return refuse(0, why, account.pool) end
  if account.state == 't' then return refuse(4010, 'state') end
end

-- The services of the debit that a request means, {key, raw units or -1 (all)}: one that names none means all, and a debit of one service need
-- not be named right.
local function meant(parts, key, want)
  if key ~= '-' and #parts > 1 then
    for n = 1, #parts do
      if parts[n][1] == key and parts[n][2][1][1] > 0 then return {{parts[n], want}} end
    end
    return {}
  end
  local found, rest = {}, want
  for n = 1, #parts do
    local raw = parts[n][2][1][1]
    if raw > 0 and (want < 0 or rest > 0 or #found == 0) then
      found[#found + 1] = {parts[n], want < 0 and -1 or min(rest, raw)}
      rest = rest - min(rest, raw)
    end
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
      local bucket = find_instance(pooled == 0 and account.buckets or (pool and pool.buckets or {}), instance)
      if bucket and bucket.ended == 0 and bucket.ends > w.now then
        if bucket.left >= 0 then bucket.left = bucket.left + take end
        w.pool_changed = w.pool_changed or pooled == 1
        given[#given + 1] = {id, take}
      end
    end
  end
  return given
end

-- Of one leg: what goes back, nil = nothing, as its units were of a period that is over.
local function give_back(key, part, back)
  local raw, price, before, credit, paid_by, counters = unpack(part)
  local units = billable(price, raw) - billable(price, raw - back)
  local by_credit = min(units, credit)
  local money = cost(price, before + credit) - cost(price, before + credit - by_credit)
  part[1], part[4] = raw - back, credit - by_credit
  local given, units_given = give_units(paid_by, units - by_credit), 0
  if units > 0 and by_credit == 0 and #given == 0 then return nil end
  for n = 1, #given do units_given = units_given + given[n][2] end
  for n = 1, #counters do
    local id, measure, window = unpack(counters[n])
    local counter = find_counter(w.account, id)
    if counter then take_back(counter, moved_by(counter, money, by_credit, by_credit + units_given), window) end
  end
  return {key = key, price = price.id, used = back, credit_in = money, units = given}, units_given
end

local function refund(left)
  local services, returned, lines = {}, 0, {}
  local parts = {}
  for n = 2, #left do parts[#parts + 1] = left[n] end
  for n = 1, #q.services do
    local key, want = unpack(q.services[n])
    local found, line, any = meant(parts, key, want), new_line(), false
    line.key = key
    for m = 1, #found do
      local service_key, legs = unpack(found[m][1])
      local most = 0
      for k = 1, #legs do
        local back = found[m][2] < 0 and legs[k][1] or min(found[m][2], legs[k][1])
        local event, units = give_back(service_key, legs[k], back)
        if event then
          services[#services + 1], any, most = event, true, max(most, back)
          line.debited_micro_eur, line.debited_units = line.debited_micro_eur - event.credit_in, line.debited_units - units
          returned = returned + event.credit_in
        end
      end
      line.granted = line.granted + most
    end
    if any then lines[#lines + 1] = line end
  end
  return services, lines, returned
end

local refused = open_account()
if refused then return refused end
local left = redis.call('HGET', KEYS[7], debits_field)
left = left and unpack_value(left)
if not left or left[1] ~= uid_of(w.id) then return refuse(5012, 'no_debit') end
run_agenda(w, nil)
local services, lines, returned = refund(left)
if #services == 0 then return refuse(5012, 'nothing_left') end

local account, outcome = w.account, new_outcome()
account.credit, account.spent = account.credit + returned, account.spent - returned
journal(w, {k = 'refund', sid = q.session_id, ctx = q.context, n = q.number, svc = services, credit_in = returned, credit = account.credit})
end_work(w)
outcome.code, outcome.services, outcome.credit_micro_eur, outcome.held_micro_eur = 2001, lines, account.credit, account.held
outcome.session_cost_micro_eur, outcome.period_end, outcome.at = -returned, account.period_ends, w.now
local packed = pack(outcome)
redis.call('HSET', KEYS[7], debits_field, pack(left))
redis.call('HSET', KEYS[5], w.field, packed)
if KEYS[5] ~= KEYS[7] then redis.call('EXPIRE', KEYS[5], q.remember_s) end
notify(w, 'reauthorize', 'refund', w.now, starving)
return {JOURNALLED, packed}
