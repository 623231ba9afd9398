-- Charge one credit-control request: settle what was used, reserve what is wanted next, remember the outcome, journal it.
--
-- KEYS  1 account  2 answers of the session or, of a one-off request, of events  3 outbox  4 outbox sequence  5 due set
-- ARGV  1 account id  2 msgpack, one flat array: identity, session id, origin host, context, type, number, now, month, deadline,
--         remember_s, answers kept, max sessions, max services, origin realm, via, binding or '' (the origin host), Origin-State-Id, 1 = only
--         look (a balance check), place, the place assumed or '', then 17 values a service: key, label, price terms (7), bucket ids in
--         order, each between commas, used, want or -1 (no RSU), minimum, flags (1 always + 2 more follows), bars (comma separated), detail,
--         units a second that can be used at most (0 any, -1 what was granted); with more: used after the price switch, used on either side
--         of it, restrict (0 refuse, 1 once, 2 again), units to try for at the end of a restricted phase, switch or 0 (negative: the grant
--         ends there); with a switch 7 more: the price terms from then on
-- Result  {1 if the outcome is remembered from before else 0, msgpack outcome}
--         outcome, flat: code, credit, held, reason, cost of the session, period end, late 0/1, now, the place if it was assumed, then 11
--         values a service: key, code, granted, final 0/1, reason, debit, units from buckets, overrun, dropped, restricted 0/1, grant spans
--         the switch 0/1.
--         Code 0 with a reason means "nothing was done, first …": "identity" (look the subscriber up again), "sweep" (the
--         package's period is over), "place" (rate it where the session is: the third element of the result).
-- Nothing is written before every check is done; RFC 8506 §7 table 6, TS 32.299 §6.3.

local RECLAIM_EVERY_S = 60 -- a session is asked so often to return credit it holds to one that starves
local UNRATED = 'unrated' -- label of use for which the request does not say enough to be priced

local id, q = ARGV[1], unpack_doc(ARGV[2])
local identity, sid, origin, context, kind, number, now, month, deadline = q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8], q[9]
local remember_s, answers_kept, max_sessions, max_services = q[10], q[11], q[12], q[13]
local realm, via, binding, origin_state, look, place, assumed = q[14], q[15], q[16], q[17], q[18] == 1, q[19], q[20]
local asked, at = {}, 20
while at < #q do
  local flags = q[at + 14]
  local more = flags >= 2
  local s = {key = q[at + 1], label = q[at + 2], price = {q[at + 3], q[at + 4], q[at + 5], q[at + 6], q[at + 7], q[at + 8], q[at + 9]},
    buckets = q[at + 10], used = q[at + 11], want = q[at + 12], minimum = q[at + 13], always = flags % 2 == 1,
    bars = q[at + 15], detail = q[at + 16], rate = q[at + 17], after = 0, either = 0, restrict = 0, retry = 0, switch = 0}
  at = at + 17
  if more then
    s.after, s.either, s.restrict, s.retry, s.switch = q[at + 1], q[at + 2], q[at + 3], q[at + 4], q[at + 5]
    at = at + 5
    if s.switch ~= 0 then
      s.price2 = {q[at + 1], q[at + 2], q[at + 3], q[at + 4], q[at + 5], q[at + 6], q[at + 7]}
      at = at + 7
    end
  end
  s.reported = s.used + s.after + s.either
  asked[#asked + 1] = s
end
local field = (look and 'C' or kind) .. number

local function refuse(code, reason) return {0, pack({code, 0, 0, reason, 0, 0, 0, now, ''})} end

-- An opening may be that of a client that has lost its state and begins with the same numbers again.
local stored, anew = redis.call('HGET', KEYS[2], field), kind == 'I' and origin_state > 0
if stored and not anew then return {1, stored} end
local document = redis.call('GET', KEYS[1])
if not document then return refuse(5030, 'unknown') end
local acc = load(document)
local session = kind ~= 'E' and acc.s[sid] or nil
local mine = true
if session then
  local owner = session.bd ~= '' and session.bd or string.lower(session.o)
  mine = owner == (binding ~= '' and binding or string.lower(origin))
end
anew = anew and session and mine and session.os > 0 and origin_state > session.os
if stored and not anew then return {1, stored} end
if not mine then return refuse(5002, 'binding') end
-- An emergency stays one, though a request need not say so again (place: ocs/charging/use.py).
local function in_need(w) return string.find(w, '^%a*\0311\031') end
if session and ((assumed ~= '' and session.w ~= assumed) or (kind ~= 'I' and in_need(session.w) and not in_need(place))) then
  local first = refuse(0, 'place')
  first[3] = session.w
  return first
end
if identity ~= '' and identity ~= 'm' .. acc.m and identity ~= 'i' .. acc.i then return refuse(0, 'identity') end
if acc.st == 't' and identity ~= '' then return refuse(0, 'identity') end -- its number may be another account's by now
if acc.pe > 0 and now >= acc.pe then return refuse(0, 'sweep') end
local credit_before, held_before = acc.cr, acc.hc

local replaces, late = false, 0
if kind == 'I' then
  if session then
    -- A client that lost its state may take the same id again (RFC 6733 §8.6).
    replaces = session.z == 1 or anew
    if not replaces then return refuse(5012, 'open') end
  end
elseif kind ~= 'E' then
  if not session then
    if kind == 'T' and redis.call('HGET', KEYS[2], 'refused') then return refuse(2001, 'refused') end
    return refuse(5002, 'session')
  end
  -- Answers so far behind are forgotten, of a session that was given up all may be: an update that is no news is not applied.
  if kind == 'U' and (number <= session.n - answers_kept or (session.z == 1 and number <= session.n)) then return refuse(5012, 'late') end
end

local events = {}
roll_month(acc, month)
if replaces then
  if session.z == 0 then give_up(acc, sid, session, 'restarted', now, id, events) end
  acc.s[sid] = nil
end
expire_sessions(acc, now, id, sid, events)

local state = state_at(acc, now)
local open_sessions = 0
for _, other in pairs(acc.s) do
  if other.z == 0 then open_sessions = open_sessions + 1 end
end
-- A later request came first: what it said of place and price stays in force.
local overtaken = kind == 'U' and number < session.n
if kind == 'I' or kind == 'E' then
  if open_sessions >= max_sessions and kind == 'I' then return refuse(5006, 'sessions') end
  session = {o = origin, c = context, t = now, d = deadline, n = number, e = 0, rl = realm, vi = via, bd = binding, os = origin_state,
    x = 0, z = 0, ra = 0, w = place, a = {}, v = {}}
  open_sessions = open_sessions + 1
else
  if not overtaken then
    session.o, session.rl, session.vi, session.w = origin, realm, via, place
    if session.bd == '' then session.bd = binding end -- the owner stays who it is whichever member of its group asks
    if origin_state > 0 then session.os = origin_state end
  end
  if session.z == 1 then
    session.z, late, open_sessions = 0, 1, open_sessions + 1
  end
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

local services, service_count = session.v, 0
for _ in pairs(services) do service_count = service_count + 1 end

-- Everything that the services of the request hold is returned, then every one is settled, so that what one returns another can use (credit
-- pools) and have. A line is both the service's outcome and its record.
local lines, second, taken, found, olds, grants = {}, {}, 0, {}, {}, {}
local function line_of(s, label, price, detail)
  return {key = s.key, label = label, price = price, detail = detail, used = 0, debit = 0, from_buckets = 0, paid_by = {}, overrun = 0,
    granted = 0, final = 0, held = 0, code = 2001, reason = '', dropped = 0, restricted = 0, span = 0}
end
for n = 1, #asked do
  local s = asked[n]
  local v = services[s.key]
  -- Use is priced by the grant in force, but for a report that a later one of the same service has overtaken, and where there was no
  -- price: those say themselves where that was.
  s.behind = v and kind == 'U' and number < v.n
  s.own = not v or (s.label ~= UNRATED and (v.l == UNRATED or (s.behind and assumed == '')))
  local line = s.own and line_of(s, s.label, s.price[1], s.detail) or line_of(s, v.l, v.p[1], v.x)
  if v then
    grants[n] = v.g
    olds[n] = release(acc, v, now)
  else
    grants[n] = 0
    v = {l = s.label, p = s.price, k = s.buckets, x = s.detail, r = {}, hm = 0, g = 0, f = NORMAL, u = session.t, sw = 0, d = deadline,
      n = 0}
    if service_count < max_services then
      services[s.key] = v
      service_count = service_count + 1
    else
      line.code, line.reason = 5006, 'sessions' -- no room to hold anything; what was used is settled
    end
  end
  if kind == 'U' then v.n = max(v.n, number) end
  found[n], lines[n] = v, line
end
if kind ~= 'E' then
  for n = 1, #asked do
    local s, line, v = asked[n], lines[n], found[n]
    if s.reported > 0 then
      drop_impossible(s, v, grants[n], line, now)
      local p, k, p2 = v.p, v.k, v.p2 or v.p
      if s.own then p, k, p2 = s.price, s.buckets, s.price end
      local first, rest = by_switch(s, v, p, p2, now)
      line.used = first
      settle(acc, session, now, line, p, k, first, olds[n])
      if rest > 0 then
        -- Use after the switch has a record line of its own: another price.
        local after = line_of(s, line.label, p2[1], line.detail)
        after.used = rest
        settle(acc, session, now, after, p2, k, rest, olds[n])
        line.after = after
        second[#second + 1] = after
        taken = taken + after.debit
      end
      taken = taken + line.debit
      v.u = s.rate == 1 and v.u + first + rest or now
    end
  end
end

-- What a service that gets nothing for want of money is told: a restricted phase (RFC 8506 §5.6.2), or no.
local function nothing(s, v, line)
  if s.restrict == 0 or (s.restrict == 1 and v.f == RESTRICTED) then
    line.code, v.f = 4012, REFUSED
  else
    line.restricted, v.f = 1, RESTRICTED
  end
end

for n = 1, #asked do
  local s, line, v = asked[n], lines[n], found[n]
  if line.code == 2001 and kind ~= 'T' then
    local want = s.want
    if want < 0 and s.restrict > 0 and (v.f == FINAL or v.f == RESTRICTED) then
      if s.reported == 0 and s.retry > 0 then
        want = s.retry -- nothing used and nothing asked for: the phase is over, or we have asked; is there something again?
      else
        line.restricted, v.f = 1, RESTRICTED
      end
    end
    if want >= 0 then
      local code, reason = refusal(s)
      if code then
        line.code, line.reason = code, reason
      else
        if not s.behind then
          v.l, v.p, v.k, v.x, v.sw, v.p2 = s.label, s.price, s.buckets, s.detail, s.switch, s.price2
        end
        line.granted, line.final, line.reason = reserve(acc, session, now, v, want, s.minimum, kind == 'E' and 1 or open_sessions)
        line.held = v.hm
        if line.granted == 0 and want > 0 then
          nothing(s, v, line)
        else
          v.f = line.final
          -- Time that begins to be granted passes from now on.
          if s.rate == 1 and s.reported == 0 and grants[n] == 0 and not overtaken then v.u = max(v.u, now) end
          if v.sw > now then line.span = 1 end
        end
      end
    end
    v.d = deadline
  end
end

-- A one-off event is paid whole at once or not at all (IEC, RFC 8506 §6.3).
local memory
if kind == 'E' then
  local whole = true
  for n = 1, #asked do
    local line = lines[n]
    if line.restricted == 1 then line.code, line.restricted = 4012, 0 end
    if line.code == 2001 and line.granted < asked[n].want then
      line.code, line.final = 4012, 0
      if line.reason == '' then line.reason = 'credit' end
    end
    if line.code ~= 2001 then whole = false end
  end
  memory = {id, acc.mo}
  for n = 1, #asked do
    local line, v = lines[n], found[n]
    release(acc, v, now)
    line.held, line.span = 0, 0
    if whole then
      local paid = (session.a[v.p[1]] or {0, 0})[2]
      line.used = line.granted
      settle(acc, session, now, line, v.p, v.k, line.used)
      taken = taken + line.debit
      memory[#memory + 1] = {line.key, v.p, line.used, paid, session.a[v.p[1]][2] - paid, line.paid_by}
    else
      line.granted, line.final = 0, 0
    end
  end
  if not whole then memory = nil end
end

-- Command level: one refusal for all when an opening or a one-off request gets nothing at all; an inactive account always.
local code, reason, refused_all, refused_state = 2001, '', #lines > 0, #lines > 0
for n = 1, #lines do
  local line = lines[n]
  if line.code == 2001 or line.code ~= lines[1].code then refused_all = false end
  if line.code ~= 4010 or line.reason ~= 'state' then refused_state = false end
end
if kind ~= 'T' and ((refused_all and kind ~= 'U' and not look) or refused_state) then code, reason = lines[1].code, lines[1].reason end

-- Others of the account hold money that a service here lacks, or hold grants of a limit that has now been reached.
local function asks_back(why)
  notify('reauthorize', why, now, id, acc, function(other, other_sid)
    if other_sid == sid then return false end
    for _, v in pairs(other.v) do
      if v.hm > 0 then
        if why == 'reclaim' then
          if now - other.ra < RECLAIM_EVERY_S then return false end
          other.ra = now
        end
        return true
      end
    end
    return false
  end)
end
if not look and acc.hc > 0 then
  for n = 1, #lines do
    local line = lines[n]
    if line.reason == 'credit' and (line.final == 1 or line.code == 4012 or line.restricted == 1) then
      asks_back('reclaim')
      break
    end
  end
end

if kind == 'E' then
  session = nil
elseif kind == 'T' then
  release_session(acc, session, now)
  acc.s[sid] = nil
elseif kind == 'I' and code ~= 2001 then
  release_session(acc, session, now)
else
  -- Supervised until twice the longest validity of what is granted now (RFC 8506 §13).
  session.d = deadline
  for _, v in pairs(services) do
    if (v.g > 0 or v.f == RESTRICTED) and v.d > session.d then session.d = v.d end
  end
  session.n = max(session.n, number)
  acc.s[sid] = session
  if code ~= 2001 then give_up(acc, sid, session, 'refused', now, id, events) end
end

local told = acc.nt
thresholds(acc, now, id, events)
if acc.nt == 100 and told < 100 and acc.hc > 0 and not look then asks_back('threshold') end
local outcome, records = {code, acc.cr, acc.hc, reason, session and session.x or taken, acc.pe, late, now,
  assumed ~= '' and place or ''}, {}
if look then outcome[2], outcome[3], outcome[5] = credit_before, held_before, 0 end
for n = 1, #lines do
  local line, to = lines[n], 11 * n - 2
  local after, debit, units, overrun = line.after, line.debit, line.from_buckets, line.overrun
  if after then debit, units, overrun = debit + after.debit, units + after.from_buckets, overrun + after.overrun end
  if look then debit, units = 0, 0 end
  outcome[to + 1], outcome[to + 2], outcome[to + 3], outcome[to + 4] = line.key, line.code, line.granted, line.final
  outcome[to + 5], outcome[to + 6], outcome[to + 7], outcome[to + 8] = line.reason, debit, units, overrun
  outcome[to + 9], outcome[to + 10], outcome[to + 11] = line.dropped, line.restricted, line.span
end
outcome = pack(outcome)
if look then
  redis.call('HSET', KEYS[2], field, outcome)
  redis.call('EXPIRE', KEYS[2], remember_s)
  return {0, outcome}
end
local function record(line)
  for n = 1, #line.paid_by do line.paid_by[n][3] = nil end
  records[#records + 1] = {line.key, line.label, line.price, line.used, line.debit, line.paid_by, line.overrun, line.granted, line.held,
    line.detail, line.code, line.dropped}
end
if memory then memory = pack(memory) end
for n = 1, #lines do record(lines[n]) end
for n = 1, #second do record(second[n]) end
events[#events + 1] = {'charge', now, id, sid, context, kind, number, records, code, taken, acc.cr, kind == 'T', late == 1}
plan_earlier(acc, KEYS[5], id)
-- A package that could not be paid while sessions held the credit may be now (HOT-PKG-2).
if acc.pp == 1 and acc.hc < held_before then plan_now(acc, KEYS[5], id, now) end
-- Answers live a quarter longer than they must, so that not every update has to prolong them.
local ends = kind == 'T' or kind == 'E'
local live_s = ends and remember_s or remember_s + session.d - deadline
local prolong = ends or session.e < now + live_s
if prolong and not ends then
  live_s = live_s + idiv(live_s, 4)
  session.e = now + live_s
end
redis.call('SET', KEYS[1], save(acc))
journal_all(KEYS[4], KEYS[3], events)
if replaces then
  -- The session before it had the same numbers: what was answered to them is not for this one.
  local fields = redis.call('HKEYS', KEYS[2])
  for n = 1, #fields do
    if string.find(fields[n], '^[UTIr]') then redis.call('HDEL', KEYS[2], fields[n]) end
  end
end
if late == 1 then redis.call('HSET', KEYS[2], 'a', id) end
if kind == 'I' then
  redis.call('HSET', KEYS[2], field, outcome, 'a', id)
  if code == 2001 then redis.call('HDEL', KEYS[2], 'refused') else redis.call('HSET', KEYS[2], 'refused', '1') end
elseif memory then
  redis.call('HSET', KEYS[2], field, outcome, 'p' .. number, memory)
else
  redis.call('HSET', KEYS[2], field, outcome)
end
if kind == 'U' and number >= answers_kept then redis.call('HDEL', KEYS[2], 'U' .. (number - answers_kept)) end
if prolong then redis.call('EXPIRE', KEYS[2], live_s) end
return {0, outcome}
