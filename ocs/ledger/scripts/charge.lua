-- Charge one credit-control request: settle what was used, reserve what is wanted next, remember the outcome, journal it.
--
-- KEYS  1 account  2 answers of the session  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack, one flat array: identity, session id, origin host, context, type, number, now, month, deadline,
--         remember_s, answers kept, max sessions, max services, then 16 values a service: key, label, price terms (7), bucket ids
--         in order, each between commas, used, want or -1 (no RSU), minimum, always 0/1, bars (comma separated), detail
-- Result  {1 if the outcome is remembered from before else 0, msgpack outcome}
--         outcome, flat: code, credit, held, reason, then 8 values a service: key, code, granted, final 0/1, reason, debit,
--         units from buckets, overrun. Code 0 with a reason means "nothing was done, first …": "identity" (look the subscriber up
--         again), "sweep" (the package's period is over).
-- Nothing is written before every check is done; RFC 8506 §7 table 6, TS 32.299 §6.3.

local id, q = ARGV[1], unpack_doc(ARGV[2])
local identity, sid, origin, context, kind, number, now, month, deadline = q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8], q[9]
local remember_s, answers_kept, max_sessions, max_services = q[10], q[11], q[12], q[13]
local asked = {}
for at = 13, #q - 1, 16 do
  asked[#asked + 1] = {key = q[at + 1], label = q[at + 2], price = {q[at + 3], q[at + 4], q[at + 5], q[at + 6], q[at + 7], q[at + 8], q[at + 9]},
    buckets = q[at + 10], used = q[at + 11], want = q[at + 12], minimum = q[at + 13], always = q[at + 14] == 1, bars = q[at + 15],
    detail = q[at + 16]}
end
local field = kind .. number

local function refuse(code, reason) return {0, pack({code, 0, 0, reason})} end

local stored = redis.call('HGET', KEYS[2], field)
if stored then return {1, stored} end
local document = redis.call('GET', KEYS[1])
if not document then return refuse(5030, 'unknown') end
local acc = load(document)
if identity ~= '' and identity ~= 'm' .. acc.m and identity ~= 'i' .. acc.i then return refuse(0, 'identity') end
if acc.pe > 0 and now >= acc.pe then return refuse(0, 'sweep') end

local session = acc.s[sid]
if kind == 'I' then
  if session then return refuse(5012, 'open') end
elseif kind ~= 'E' then
  if not session then
    if kind == 'T' and redis.call('HGET', KEYS[2], 'refused') then return refuse(2001, '') end
    return refuse(5002, 'session')
  end
  if number <= session.n - answers_kept then return refuse(5012, 'late') end
end

local events = {}
roll_month(acc, month)
expire_sessions(acc, now, id, sid, events)

local state = state_at(acc, now)
local open_sessions = 0
for _ in pairs(acc.s) do open_sessions = open_sessions + 1 end
if kind == 'I' or kind == 'E' then
  if open_sessions >= max_sessions and kind == 'I' then return refuse(5006, 'sessions') end
  session = {o = origin, c = context, t = now, d = deadline, n = number, e = 0, a = {}, v = {}}
  open_sessions = open_sessions + 1
end

-- Pay `used` raw units at the price in force: buckets first (HOT-PKG-3), then credit as far as there is money.
local function settle(v, used)
  local p = v.p
  local tally = session.a[p[1]]
  if not tally then tally = {0, 0}; session.a[p[1]] = tally end
  local before = billable(p, tally[1])
  tally[1] = tally[1] + used
  local units, from_buckets, paid_by = billable(p, tally[1]) - before, 0, {}
  local buckets = usable_buckets(acc, v.k, now)
  for n = 1, #buckets do
    if units == 0 then break end
    local b, take = buckets[n], units
    if b[3] >= 0 then
      take = min(units, b[3] - b[4])
      b[3] = b[3] - take
    end
    if take > 0 then
      units, from_buckets = units - take, from_buckets + take
      paid_by[#paid_by + 1] = {b[1], take}
    end
  end
  local debit = 0
  if units > 0 then
    local n = min(units, affordable(p, tally[2], acc.cr - acc.hc))
    debit = cost(p, tally[2] + n) - cost(p, tally[2])
    tally[2], units = tally[2] + n, units - n
    acc.cr, acc.sp, acc.ms = acc.cr - debit, acc.sp + debit, acc.ms + debit
  end
  return debit, from_buckets, units, paid_by
end

-- The raw units that `units` billable units allow on top of `raw` used ones.
local function raw_room(p, raw, units)
  if p[6] == 1 then
    if raw > 0 or units >= 1 then return UNBOUNDED end
    return 0
  end
  if units >= UNBOUNDED then return UNBOUNDED end
  if raw == 0 then
    if units < p[4] then return 0 end
    return units - fmod(units - p[4], p[5])
  end
  return billable(p, raw) - raw + units - fmod(units, p[5])
end

-- Another service of the session has a grant at the same price: the step begun is paid once and may be used by either, so it is not
-- given to both.
local function shared(v)
  for _, other in pairs(session.v) do
    if other ~= v and other.g > 0 and other.p[1] == v.p[1] and v.p[6] == 0 then return true end
  end
  return false
end

-- Reserve up to `want` raw units; returns granted, final, reason for less.
local function reserve(v, want, minimum)
  local p = v.p
  local tally = session.a[p[1]] or {0, 0}
  local raw = tally[1]
  if shared(v) then raw = billable(p, raw) end
  local units, buckets = 0, usable_buckets(acc, v.k, now)
  for n = 1, #buckets do
    local b = buckets[n]
    if b[3] < 0 then units = UNBOUNDED; break end
    units = units + b[3] - b[4]
  end
  local reason = 'credit'
  if units < UNBOUNDED then
    local money = acc.cr - acc.hc
    if acc.lim >= 0 then
      local room = max(acc.lim - acc.ms - acc.hc, 0)
      if room < money then money, reason = room, 'limit' end
    end
    units = min(units + affordable(p, tally[2], money), UNBOUNDED)
  end
  local room = raw_room(p, raw, units)
  local grant = min(want, room)
  if kind ~= 'E' and open_sessions > 1 and room < want * open_sessions then
    grant = min(grant, max(minimum, idiv(room, open_sessions)))
  end
  if grant <= 0 then return 0, 0, reason end
  local need = billable(p, raw + grant) - billable(p, raw)
  for n = 1, #buckets do
    if need == 0 then break end
    local b, take = buckets[n], need
    if b[3] >= 0 then take = min(need, b[3] - b[4]) end
    if take > 0 then
      b[4] = b[4] + take
      v.r[#v.r + 1] = {b[1], take}
      need = need - take
    end
  end
  if need > 0 then
    v.hm = cost(p, tally[2] + need) - cost(p, tally[2])
    acc.hc = acc.hc + v.hm
  end
  v.g = grant
  if grant == room and room < want then return grant, 1, reason end
  return grant, 0, ''
end

local function barred(bars)
  if acc.br == '' then return false end
  local set = ',' .. acc.br .. ','
  for bar in string.gmatch(bars, '[^,]+') do
    if string.find(set, ',' .. bar .. ',', 1, true) then return true end
  end
  return false
end

local function refusal(s)
  if s.always then return nil end
  if state ~= 'a' then return 4010, 'state' end
  if barred(s.bars) then return 4010, 'bar' end
end

local services = session.v
local service_count = 0
for _ in pairs(services) do service_count = service_count + 1 end

-- First every service is settled, so that what one returns another can have. A line is both the service's outcome and its record.
local lines, taken = {}, 0
for n = 1, #asked do
  local s = asked[n]
  local v = services[s.key]
  local line = {key = s.key, label = s.label, price = s.price[1], detail = s.detail, used = s.used, debit = 0, from_buckets = 0, paid_by = {},
    overrun = 0, granted = 0, final = 0, held = 0, code = 2001, reason = ''}
  lines[n] = line
  if v then
    line.label, line.price, line.detail = v.l, v.p[1], v.x
    release(acc, v)
  elseif service_count < max_services then
    v = {l = s.label, p = s.price, k = s.buckets, x = s.detail, r = {}, hm = 0, g = 0}
    services[s.key] = v
    service_count = service_count + 1
  else
    line.code, line.reason = 5006, 'sessions'
  end
  if v and s.used > 0 and kind ~= 'E' then
    line.debit, line.from_buckets, line.overrun, line.paid_by = settle(v, s.used)
    taken = taken + line.debit
  end
end

for n = 1, #asked do
  local s, line = asked[n], lines[n]
  local v = services[s.key]
  if line.code == 2001 and s.want >= 0 and kind ~= 'T' then
    local code, reason = refusal(s)
    if code then
      line.code, line.reason = code, reason
    else
      v.l, v.p, v.k, v.x = s.label, s.price, s.buckets, s.detail
      line.granted, line.final, line.reason = reserve(v, s.want, s.minimum)
      line.held = v.hm
      if line.granted == 0 and s.want > 0 then line.code = 4012 end
    end
  end
end

-- A one-off event is paid whole at once or not at all (IEC, RFC 8506 §6.3).
if kind == 'E' then
  local whole = true
  for n = 1, #asked do
    local line = lines[n]
    if line.code == 2001 and line.granted < asked[n].want then
      line.code, line.final = 4012, 0
      if line.reason == '' then line.reason = 'credit' end
    end
    if line.code ~= 2001 then whole = false end
  end
  for n = 1, #asked do
    local line, v = lines[n], services[asked[n].key]
    if v then release(acc, v) end
    line.held = 0
    if whole then
      line.used = line.granted
      line.debit, line.from_buckets, line.overrun, line.paid_by = settle(v, line.used)
      taken = taken + line.debit
    else
      line.granted, line.final = 0, 0
    end
  end
end

-- Command level: one refusal for all when an opening or a one-off request gets nothing at all; an inactive account always.
local code, reason, refused_all, refused_state = 2001, '', #lines > 0, #lines > 0
for n = 1, #lines do
  local line = lines[n]
  if line.code == 2001 or line.code ~= lines[1].code then refused_all = false end
  if line.code ~= 4010 or line.reason ~= 'state' then refused_state = false end
end
if kind ~= 'T' and ((refused_all and kind ~= 'U') or refused_state) then code, reason = lines[1].code, lines[1].reason end

if kind == 'E' then
  session = nil
elseif kind == 'T' then
  release_session(acc, session)
  acc.s[sid] = nil
elseif kind == 'I' and code ~= 2001 then
  release_session(acc, session)
else
  session.d = deadline
  session.n = max(session.n, number)
  acc.s[sid] = session
end

thresholds(acc, now, id, events)
local outcome, records = {code, acc.cr, acc.hc, reason}, {}
for n = 1, #lines do
  local line, at = lines[n], 8 * n - 4
  outcome[at + 1], outcome[at + 2], outcome[at + 3], outcome[at + 4] = line.key, line.code, line.granted, line.final
  outcome[at + 5], outcome[at + 6], outcome[at + 7], outcome[at + 8] = line.reason, line.debit, line.from_buckets, line.overrun
  records[n] = {line.key, line.label, line.price, line.used, line.debit, line.paid_by, line.overrun, line.granted, line.held, line.detail,
    line.code}
end
outcome = pack(outcome)
events[#events + 1] = {'charge', now, id, sid, context, kind, number, records, code, taken, acc.cr, kind == 'T'}
plan_earlier(acc, KEYS[5], id)
-- Answers live a quarter longer than they must, so that not every update has to prolong them.
local prolong, live_s = kind == 'T' or kind == 'E' or session.e < now + remember_s, remember_s
if prolong and kind ~= 'T' and kind ~= 'E' then
  live_s = remember_s + idiv(remember_s, 4)
  session.e = now + live_s
end
redis.call('SET', KEYS[1], save(acc))
journal_all(KEYS[4], KEYS[3], events)
if kind == 'I' then
  redis.call('HSET', KEYS[2], field, outcome, 'a', id)
  if code ~= 2001 then redis.call('HSET', KEYS[2], 'refused', '1') end
else
  redis.call('HSET', KEYS[2], field, outcome)
end
if kind == 'U' and number >= answers_kept then redis.call('HDEL', KEYS[2], 'U' .. (number - answers_kept)) end
if prolong then redis.call('EXPIRE', KEYS[2], live_s) end
return {0, outcome}
