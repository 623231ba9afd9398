-- Give back what a one-off debit took (REFUND_ACCOUNT, RFC 8506 §6.4): at most what is left of it, what credit paid first.
--
-- KEYS  1 account  2 answers of events under the refund's Session-Id  3 those under the debit's  4 outbox  5 outbox sequence
--       6 due set
-- ARGV  1 account id  2 msgpack, one flat array: identity, session id, number, debit's number, now, month, remember_s, context, then for each
--         service: key ("-" = names none), units wanted or -1 (all that is left)
-- Result  as charge.lua; refunded money is a negative debit. Code 5012 with "no_debit" (of this account there is none, or it is forgotten)
--         or "nothing_left".
-- What a debit left to give back: {account id, month, then {key, price terms, raw units, credit units paid before it, credit units,
--   {{bucket id, units, expires}}} for each service}.

local id, q = ARGV[1], unpack_doc(ARGV[2])
local identity, sid, number, debit_number, now, month, remember_s, context = unpack(q, 1, 8)
local field = 'R' .. number
local function refuse(code, reason) return {0, pack({code, 0, 0, reason, 0, 0, 0, now, ''})} end

local stored = redis.call('HGET', KEYS[2], field)
if stored then return {1, stored} end
local document = redis.call('GET', KEYS[1])
if not document then return refuse(5030, 'unknown') end
local acc = load(document)
if identity ~= '' and identity ~= 'm' .. acc.m and identity ~= 'i' .. acc.i then return refuse(0, 'identity') end
if acc.st == 't' then return refuse(identity == '' and 4010 or 0, identity == '' and 'state' or 'identity') end
local left = redis.call('HGET', KEYS[3], 'p' .. debit_number)
if not left then return refuse(5012, 'no_debit') end
left = unpack_doc(left)
if left[1] ~= id then return refuse(5012, 'no_debit') end

-- What is left of the service that is named; a debit of one service need not be named right.
local function line_for(key)
  local any = key == '-' or #left == 3
  for n = 3, #left do
    if left[n][3] > 0 and (any or left[n][1] == key) then return left[n] end
  end
end

local lines, returned = {}, 0
for at = 9, #q, 2 do
  local key, want = q[at], q[at + 1]
  local line = line_for(key)
  if line then
    local p, raw, before, credit, paid_by = line[2], line[3], line[4], line[5], line[6]
    local back = want < 0 and raw or min(want, raw)
    local units = billable(p, raw) - billable(p, raw - back)
    local from_credit = min(units, credit)
    local money = cost(p, before + credit) - cost(p, before + credit - from_credit)
    line[3], line[5] = raw - back, credit - from_credit
    local rest, given = units - from_credit, {}
    for n = #paid_by, 1, -1 do
      local take = min(rest, paid_by[n][2])
      if take > 0 then
        rest, paid_by[n][2] = rest - take, paid_by[n][2] - take
        local bucket = find_bucket(acc, paid_by[n][1], paid_by[n][3])
        if bucket and is_current(acc, bucket, now) then
          if bucket[3] >= 0 then bucket[3] = bucket[3] + take end
          given[#given + 1] = {paid_by[n][1], take}
        end
      end
    end
    returned = returned + money
    -- Units of a period that is over do not come back: where there is nothing else, nothing is given back.
    if units == 0 or from_credit > 0 or #given > 0 then
      lines[#lines + 1] = {key = key, price = p[1], raw = back, money = money, given = given}
    end
  end
end
if #lines == 0 then return refuse(5012, 'nothing_left') end

roll_month(acc, month)
acc.cr, acc.sp = acc.cr + returned, acc.sp - returned
if left[2] == acc.mo then acc.ms = max(acc.ms - returned, 0) end
local outcome, records = {2001, acc.cr, acc.hc, '', -returned, acc.pe, 0, now, ''}, {}
for n = 1, #lines do
  local line, to, units = lines[n], 11 * n - 2, 0
  for m = 1, #line.given do units = units + line.given[m][2] end
  outcome[to + 1], outcome[to + 2], outcome[to + 3], outcome[to + 4], outcome[to + 5] = line.key, 2001, line.raw, 0, ''
  outcome[to + 6], outcome[to + 7], outcome[to + 8], outcome[to + 9], outcome[to + 10], outcome[to + 11] = -line.money, -units, 0, 0, 0, 0
  records[n] = {line.key, line.price, line.raw, line.money, line.given}
end
outcome = pack(outcome)
if acc.pp == 1 then plan_now(acc, KEYS[6], id, now) end
redis.call('SET', KEYS[1], save(acc))
redis.call('HSET', KEYS[3], 'p' .. debit_number, pack(left))
journal(KEYS[5], KEYS[4], {'refund', now, id, sid, context, number, records, returned, acc.cr})
redis.call('HSET', KEYS[2], field, outcome)
if KEYS[2] ~= KEYS[3] then redis.call('EXPIRE', KEYS[2], remember_s) end
notify('reauthorize', 'refund', now, id, acc, starving)
return {0, outcome}
