-- Refund a one-off debit (REFUND_ACCOUNT, RFC 8506 §6.4): at most what is left of it; what credit paid comes first.
--
-- KEYS  1 to 4 as charge.lua  5 answers of events under the refund's Session-Id  6 pool  7 those under the debit's
-- ARGV  1 account id  2 msgpack map: identity, session_id, number, debit_session ("" = session_id),
--         debit_number, context, remember_s, services [{key,
--         units wanted or -1}], looked_back, now, month, day, max_skew_s, pool, life
-- Result  as charge.lua; refunded money is a negative debit. Code 5012 with "no_debit" (this account has none, or it is
--         forgotten) or "nothing_left".
--
-- The field "p<number>" of a debit: {the account's uid, then what `debit_service` (conclude.lua) returned per service}.

local args = unpack_value(ARGV[2])
local work = {account_id = ARGV[1], now = args.now, month = args.month, day = args.day, events = {},
  answer_field = 'R' .. string.format('%.0f', args.number), keys = named_keys(KEYS), promotional = 0, life = args.life}
local debits_field = 'p' .. string.format('%.0f', args.debit_number)

local function refuse(code, reason, place)
  local outcome = new_outcome()
  outcome.code, outcome.reason, outcome.place, outcome.at = code, reason, place or '', args.now
  return {0, pack(outcome)}
end

local function open_account()
  local why = clock_error(args.now, args.max_skew_s)
  if why then return refuse(0, why) end
  local document = redis.call('GET', KEYS[1])
  if not document then return refuse(5030, 'unknown') end
  local account, reason = read_document('account', document)
  if not account then return refuse(0, reason) end
  if account.moved_to ~= '' then return refuse(0, 'moved', account.moved_to) end
  work.account = account
  local stored = redis.call('HGET', KEYS[5], work.answer_field)
  if stored then return {DUPLICATE, stored} end
  if account.moved_from ~= '' and work.now < account.look_back_until and args.looked_back ~= account.moved_from then
    return refuse(0, 'look_back', account.moved_from)
  end
  local named = args.identity ~= ''
  if named and args.identity ~= 'm' .. account.msisdn and args.identity ~= 'i' .. account.imsi then
    return refuse(0, 'identity')
  end
  if account.state == 't' and named then return refuse(0, 'identity') end
  why = load_pool(work, args.pool)
  if why then return refuse(0, why, account.pool) end
  if account.state == 't' then return refuse(4010, 'state') end
end

-- Services of the debit that a requested service means, as {service, raw units or -1 (all)}. The key "-" means all; a
-- debit of one service is meant whatever the key.
local function find_debits(parts, key, want)
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

-- The bucket that had paid; nil = the account is in another pool now, or the bucket is gone.
local function bucket_that_paid(id, instance, pooled, from)
  local account, pool = work.account, work.pool
  if pooled == 1 and (from or account.pool) ~= account.pool then return nil end
  local bucket = find_instance(pooled == 0 and account.buckets or (pool and pool.buckets or {}), instance)
  return bucket and bucket.id == id and bucket or nil
end

local function return_units(paid_by, units)
  local given = {}
  for n = #paid_by, 1, -1 do
    local id, had, instance, pooled, from = unpack(paid_by[n])
    local take = min(units, had)
    if take > 0 then
      units, paid_by[n][2] = units - take, had - take
      local bucket = bucket_that_paid(id, instance, pooled, from)
      if bucket and bucket.ended == 0 and bucket.ends > work.now then
        if bucket.left >= 0 then bucket.left = bucket.left + take end
        if pooled == 1 then
          work.pool_changed = true
          note_usage(work, bucket, -take)
        end
        given[#given + 1] = {id, take}
      end
    end
  end
  return given
end

-- Promotional part of the money that returns, out of what was paid: the part that paid last returns first.
local function returned_promotional(paid, promotional, money)
  local life = work.life
  if life.promotional_first == 1 then return max(money - (paid - promotional), 0) end
  return min(money, promotional)
end

-- Refund one leg. Returns the event and the units returned; nil = nothing returns, because the period of its units is
-- over.
local function refund_leg(key, part, back)
  local raw, price, before, credit, paid_by, counters, for_credit, promotional = unpack(part)
  for_credit, promotional = for_credit or price, promotional or 0
  local units = billable(price, raw) - billable(price, raw - back)
  local by_credit = min(units, credit)
  local money = cost(for_credit, before + credit) - cost(for_credit, before + credit - by_credit)
  local paid = cost(for_credit, before + credit) - cost(for_credit, before)
  local to_promotional = returned_promotional(paid, promotional, money)
  part[1], part[4], part[8] = raw - back, credit - by_credit, promotional - to_promotional
  local given, units_given = return_units(paid_by, units - by_credit), 0
  if units > 0 and by_credit == 0 and #given == 0 then return nil end
  for n = 1, #given do units_given = units_given + given[n][2] end
  for n = 1, #counters do
    local id, measure, window = unpack(counters[n])
    local counter = find_counter(work.account, id)
    if counter then uncount(counter, counter_amount(counter, money, by_credit, by_credit + units_given), window) end
  end
  return {key = key, price = price.id, used = back, credit_in = money, units = given,
    promo = some(to_promotional)}, units_given
end

local function refund(left)
  local services, returned, results = {}, 0, {}
  local parts = {}
  for n = 2, #left do parts[#parts + 1] = left[n] end
  for n = 1, #args.services do
    local key, want = unpack(args.services[n])
    local found, result, any = find_debits(parts, key, want), new_service_outcome(), false
    result.key = key
    for m = 1, #found do
      local service_key, legs = unpack(found[m][1])
      local most = 0
      for k = 1, #legs do
        local back = found[m][2] < 0 and legs[k][1] or min(found[m][2], legs[k][1])
        local event, units = refund_leg(service_key, legs[k], back)
        if event then
          services[#services + 1], any, most = event, true, max(most, back)
          result.debited_micro_eur = result.debited_micro_eur - event.credit_in
          result.debited_units = result.debited_units - units
          returned = returned + event.credit_in
          work.promotional = work.promotional + (event.promo or 0)
        end
      end
      result.granted = result.granted + most
    end
    if any then results[#results + 1] = result end
  end
  return services, results, returned
end

local refused = open_account()
if refused then return refused end
local left = redis.call('HGET', KEYS[7], debits_field)
left = left and unpack_value(left)
if not left or left[1] ~= uid_of(work.account_id) then return refuse(5012, 'no_debit') end
run_agenda(work, nil)
local services, results, returned = refund(left)
if #services == 0 then return refuse(5012, 'nothing_left') end

local account, outcome = work.account, new_outcome()
account.credit, account.spent = account.credit + returned, account.spent - returned
account.promotional = account.promotional + work.promotional
journal(work, {k = 'refund', sid = args.session_id, ctx = args.context, n = args.number, svc = services,
  credit_in = returned, credit = account.credit, promo = some(work.promotional),
  of_session = args.debit_session ~= '' and args.debit_session or nil})
end_work(work)
outcome.code = 2001
outcome.services = results
outcome.credit_micro_eur = account.credit
outcome.held_micro_eur = account.held
outcome.session_cost_micro_eur, outcome.period_end, outcome.at = -returned, period_end_of(work), work.now
local packed = pack(outcome)
redis.call('HSET', KEYS[7], debits_field, pack(left))
redis.call('HSET', KEYS[5], work.answer_field, packed)
if KEYS[5] ~= KEYS[7] then redis.call('EXPIRE', KEYS[5], args.remember_s) end
notify(work, 'reauthorize', 'refund', work.now, lacks_funds)
return {JOURNALLED, packed}
