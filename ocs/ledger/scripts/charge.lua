-- Charge one credit-control request: settle what was used, reserve what is wanted next, remember the outcome, journal it.
--
-- KEYS  1 account  2 answers of the session  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack {identity, session id, origin host, context, type, number, now, month, deadline,
--         remember_s, answers kept, max sessions, max services, {service …}}
--         service: {key, label, price terms, {bucket ids}, used, want or -1 (no RSU), minimum, always 0/1, {bars}, detail}
-- Result  {1 if the outcome is remembered from before else 0, msgpack outcome}
--         outcome: {code, credit, held, reason, {{key, code, granted, final 0/1, reason, debit, units from buckets, overrun} …}}
--         code 0 with a reason means "nothing was done, first …": "identity" (look the subscriber up again), "sweep" (package period over).
-- Nothing is written before every check is done; RFC 8506 §7 table 6, TS 32.299 §6.3.

local id, q = ARGV[1], unpack_doc(ARGV[2])
local identity, sid, origin, context, kind, number, now, month, deadline = q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8], q[9]
local remember_s, answers_kept, max_sessions, max_services, asked = q[10], q[11], q[12], q[13], q[14]
local field = kind .. number

local function refuse(code, reason) return {0, pack({code, 0, 0, reason, {}})} end

local stored = redis.call('HGET', KEYS[2], field)
if stored then return {1, stored} end
local document = redis.call('GET', KEYS[1])
if not document then return refuse(5030, 'unknown') end
local acc = unpack_doc(document)
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
  session = {o = origin, c = context, t = now, d = deadline, n = number, v = {}}
  open_sessions = open_sessions + 1
end

-- Pay `used` raw units at the price in force: buckets first (HOT-PKG-3), then credit as far as there is money.
local function settle(v, used)
  local p = v.p
  local tally = v.a[p[1]]
  if not tally then tally = {0, 0}; v.a[p[1]] = tally end
  local before = billable(p, tally[1])
  tally[1] = tally[1] + used
  local units, from_buckets, paid_by = billable(p, tally[1]) - before, 0, {}
  for n = 1, #v.k do
    if units == 0 then break end
    local b = find_bucket(acc, v.k[n])
    if b and b[5] > now then
      local take = units
      if b[3] >= 0 then
        take = min(units, b[3] - b[4])
        b[3] = b[3] - take
      end
      if take > 0 then
        units, from_buckets = units - take, from_buckets + take
        paid_by[#paid_by + 1] = {b[1], take}
      end
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

-- Reserve up to `want` raw units; returns granted, final, reason for less.
local function reserve(v, want, minimum)
  local p = v.p
  local tally = v.a[p[1]] or {0, 0}
  local units = 0
  for n = 1, #v.k do
    local b = find_bucket(acc, v.k[n])
    if b and b[5] > now then
      if b[3] < 0 then units = UNBOUNDED; break end
      units = units + b[3] - b[4]
    end
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
  local room = raw_room(p, tally[1], units)
  local grant = min(want, room)
  if kind ~= 'E' and open_sessions > 1 and room < want * open_sessions then
    grant = min(grant, max(minimum, idiv(room, open_sessions)))
  end
  if grant <= 0 then return 0, 0, reason end
  local need = billable(p, tally[1] + grant) - billable(p, tally[1])
  for n = 1, #v.k do
    if need == 0 then break end
    local b = find_bucket(acc, v.k[n])
    if b and b[5] > now then
      local take = need
      if b[3] >= 0 then take = min(need, b[3] - b[4]) end
      if take > 0 then
        b[4] = b[4] + take
        v.r[#v.r + 1] = {b[1], take}
        need = need - take
      end
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
  for n = 1, #bars do
    if string.find(',' .. acc.br .. ',', ',' .. bars[n] .. ',', 1, true) then return true end
  end
  return false
end

local function refusal(s)
  if s[8] == 1 then return nil end
  if state ~= 'a' then return 4010, 'state' end
  if barred(s[9]) then return 4010, 'bar' end
end

local services = session.v
local service_count = 0
for _ in pairs(services) do service_count = service_count + 1 end

-- First every service is settled, so that what one returns another can have.
local results, lines, taken = {}, {}, 0
for n = 1, #asked do
  local s = asked[n]
  local v = services[s[1]]
  local code, reason = 2001, ''
  if not v then
    if service_count < max_services then
      v = {l = s[2], p = s[3], k = s[4], w = s[8], x = s[10], a = {}, r = {}, hm = 0, g = 0}
      services[s[1]] = v
      service_count = service_count + 1
    else
      code, reason = 5006, 'sessions'
    end
  end
  local line = {key = s[1], label = v and v.l or s[2], price = v and v.p[1] or s[3][1], used = s[5], debit = 0, units = {},
    overrun = 0, granted = 0, held = 0, detail = v and v.x or s[10], code = code}
  local from_buckets = 0
  if v then
    release(acc, v)
    if s[5] > 0 and kind ~= 'E' then
      line.debit, from_buckets, line.overrun, line.units = settle(v, s[5])
      taken = taken + line.debit
    end
  end
  lines[n] = line
  results[n] = {s[1], code, 0, 0, reason, line.debit, from_buckets, line.overrun}
end

for n = 1, #asked do
  local s, result, line = asked[n], results[n], lines[n]
  local v = services[s[1]]
  if result[2] == 2001 and s[6] >= 0 and kind ~= 'T' then
    local code, reason = refusal(s)
    if code then
      result[2], result[5] = code, reason
    else
      v.l, v.p, v.k, v.w, v.x = s[2], s[3], s[4], s[8], s[10]
      result[3], result[4], result[5] = reserve(v, s[6], s[7])
      if result[3] == 0 and s[6] > 0 then result[2] = 4012 end
    end
  end
  line.granted, line.code, line.held = result[3], result[2], v and v.hm or 0
end

-- A one-off event is paid whole at once or not at all (IEC, RFC 8506 §6.3).
if kind == 'E' then
  local whole = true
  for n = 1, #asked do
    if results[n][2] == 2001 and results[n][3] < asked[n][6] then
      results[n][2], results[n][4] = 4012, 0
      if results[n][5] == '' then results[n][5] = 'credit' end
    end
    if results[n][2] ~= 2001 then whole = false end
  end
  for n = 1, #asked do
    local v = services[asked[n][1]]
    if v then release(acc, v) end
    if whole then
      local line = lines[n]
      line.used = results[n][3]
      line.debit, results[n][7], line.overrun, line.units = settle(v, line.used)
      results[n][6], results[n][8], line.held = line.debit, line.overrun, 0
      taken = taken + line.debit
    else
      results[n][3] = 0
    end
    lines[n].granted, lines[n].code = results[n][3], results[n][2]
  end
end

-- Command level: one refusal for all when an opening or a one-off request gets nothing at all; an inactive account always.
local code, reason, refused_all, refused_state = 2001, '', #results > 0, #results > 0
for n = 1, #results do
  local r = results[n]
  if r[2] == 2001 or r[2] ~= results[1][2] then refused_all = false end
  if r[2] ~= 4010 or r[5] ~= 'state' then refused_state = false end
end
if kind ~= 'T' and ((refused_all and kind ~= 'U') or refused_state) then code, reason = results[1][2], results[1][5] end

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
events[#events + 1] = {k = 'charge', t = now, a = id, sid = sid, ctx = context, typ = kind, n = number, svc = lines, code = code,
  debit = taken, credit = acc.cr, closed = kind == 'T'}
plan_earlier(acc, KEYS[5], id)
local outcome = pack({code, acc.cr, acc.hc, reason, results})
redis.call('SET', KEYS[1], pack(acc))
journal_all(KEYS[4], KEYS[3], events)
redis.call('HSET', KEYS[2], field, outcome, 'a', id)
if kind == 'U' and number >= answers_kept then redis.call('HDEL', KEYS[2], 'U' .. (number - answers_kept)) end
if kind == 'I' and code ~= 2001 then redis.call('HSET', KEYS[2], 'refused', '1') end
redis.call('EXPIRE', KEYS[2], remember_s)
return {0, outcome}
