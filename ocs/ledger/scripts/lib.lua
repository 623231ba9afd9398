-- Shared by every ledger script, after document.lua, which says what an account is made of.

local fmod, min, max = math.fmod, math.min, math.max
local UNBOUNDED = 9007199254740991
local LATE_S = 3600 -- a session that was given up is kept so long for use reported late
local MAX_GIVEN_UP = 8 -- of an account; one more drops the one that would go first
local NORMAL, FINAL, RESTRICTED, REFUSED = 0, 1, 2, 3

local function idiv(a, b) return (a - fmod(a, b)) / b end

-- R(T): billable units for T raw units of a session (HOT-PKG-5).
local function billable(p, raw)
  if raw <= 0 then return 0 end
  if p[6] == 1 then return 1 end
  local first, step = p[4], p[5]
  if raw <= first then return first end
  local over = raw - first
  local rest = fmod(over, step)
  if rest > 0 then over = over + step - rest end
  return first + over
end

-- M(c) for c < den: what c credit-paid units cost, rounded once.
local function part_cost(p, c)
  local exact, den = c * p[2], p[3]
  local rest = fmod(exact, den)
  local cost = (exact - rest) / den
  if rest > 0 and (p[7] == 'up' or (p[7] == 'half_up' and 2 * rest >= den)) then cost = cost + 1 end
  return cost
end

-- M(c), with no product above 2^53.
local function cost(p, c)
  local den = p[3]
  local rest = fmod(c, den)
  return (c - rest) / den * p[2] + part_cost(p, rest)
end

-- The largest n with M(already + n) - M(already) <= money.
local function affordable(p, already, money)
  local num, den = p[2], p[3]
  if num == 0 then return UNBOUNDED end
  local base = fmod(already, den)
  local target = part_cost(p, base) + money
  -- A block of den units costs num: one division finds the block, another the place in it.
  local rest = fmod(target, num)
  local c = (target - rest) / num * den
  if p[7] == 'up' then
    c = c + idiv(rest * den, num)
  elseif p[7] == 'down' then
    c = c + idiv((rest + 1) * den - 1, num)
  else
    c = c + idiv((2 * rest + 1) * den - 1, 2 * num)
  end
  return max(c - base, 0)
end

-- A bucket is the running period's if it ends with it: also by a clock that is a little behind the one that began the period.
local function is_current(acc, b, now) return b[5] == acc.pe and b[5] > now end

-- The buckets that may pay for a use now, in the order of their ids in `k` (",MINI.data,MAXI.data,").
local function usable_buckets(acc, k, now)
  local found, at = {}, {}
  for n = 1, #acc.b do
    local b = acc.b[n]
    local place = is_current(acc, b, now) and string.find(k, ',' .. b[1] .. ',', 1, true)
    if place then
      local m = #found + 1
      while m > 1 and at[m - 1] > place do
        found[m], at[m] = found[m - 1], at[m - 1]
        m = m - 1
      end
      found[m], at[m] = b, place
    end
  end
  return found
end

local function find_bucket(acc, id, expires)
  local list = acc.b
  for n = 1, #list do
    if list[n][1] == id and list[n][5] == expires then return list[n], n end
  end
end

-- Give back what a service has reserved. Units of a bucket that has expired do not come back: they are the result, {{bucket id, units}},
-- and may only pay for what the service has used of its grant.
local function release(acc, v, now)
  local held, old = v.r, nil
  for n = 1, #held do
    local b, place = find_bucket(acc, held[n][1], held[n][3])
    if b then
      local units = held[n][2]
      b[4] = b[4] - units
      if not is_current(acc, b, now) then
        old = old or {}
        old[#old + 1] = {b[1], units}
        if b[3] >= 0 then b[3] = b[3] - units end
        if b[4] == 0 and b[3] <= 0 then table.remove(acc.b, place) end
      end
    end
  end
  acc.hc = acc.hc - v.hm
  v.r, v.hm, v.g = {}, 0, 0
  return old
end

local function release_session(acc, session, now)
  local money = 0
  for _, v in pairs(session.v) do
    money = money + v.hm
    release(acc, v, now)
  end
  return money
end

local function roll_month(acc, month)
  if month > acc.mo then acc.mo, acc.ms, acc.nt = month, 0, 0 end
end

local function state_at(acc, now)
  if acc.st == 'a' and now >= acc.au then return 'i' end
  return acc.st
end

-- Journal one event of the partition: {kind, time, account, fields in the order of ocs/ledger/journal.py}. Its sequence number is
-- gapless because it is counted in the same atomic step.
local function journal(key_sequence, key_outbox, event)
  local sequence = redis.call('INCR', key_sequence)
  redis.call('XADD', key_outbox, sequence .. '-0', 'e', pack(event))
end

-- Append the account's thresholds that spending has now crossed, each once a month and limit (HOT-CC-4).
local function thresholds(acc, now, id, events)
  if acc.lim < 0 or acc.nt == 100 then return end
  local reached = 0
  if acc.ms >= acc.lim then reached = 100 elseif acc.ms * 5 >= acc.lim * 4 then reached = 80 end
  if reached <= acc.nt then return end
  if acc.nt < 80 then
    events[#events + 1] = {'threshold', now, id, 80, acc.ms, acc.lim}
  end
  if reached == 100 then
    events[#events + 1] = {'threshold', now, id, 100, acc.ms, acc.lim}
  end
  acc.nt = reached
end

-- When the account must next be looked at by the sweeper; 0 = never.
local function next_due(acc)
  local due = UNBOUNDED
  if acc.pe > 0 then due = acc.pe end
  for _, session in pairs(acc.s) do due = min(due, session.d) end
  if due == UNBOUNDED then return 0 end
  return due
end

-- An earlier look than planned is entered at once; a later one is found by the sweeper, which then plans anew.
local function plan_earlier(acc, key_due, id)
  local due = next_due(acc)
  if due > 0 and (acc.du == 0 or due < acc.du) then
    acc.du = due
    redis.call('ZADD', key_due, due, id)
  end
end

-- The sweeper looks at once.
-- A package that could not be paid is looked at now: there may be enough for it.
local function plan_now(acc, key_due, id, now)
  if acc.du == 0 or now < acc.du then
    acc.du = now
    redis.call('ZADD', key_due, now, id)
  end
end

local function plan_anew(acc, key_due, id)
  local due = next_due(acc)
  if due > 0 then
    if due ~= acc.du then redis.call('ZADD', key_due, due, id) end
  elseif acc.du ~= 0 then
    redis.call('ZREM', key_due, id)
  end
  acc.du = due
end

-- Give a session up: what it holds returns, its record says so; use of it that is reported late can still be settled.
local function give_up(acc, sid, session, reason, now, id, events)
  local returned = release_session(acc, session, now)
  session.z, session.d = 1, now + LATE_S
  for _, v in pairs(session.v) do v.f = NORMAL end
  events[#events + 1] = {'expired', now, id, sid, session.c, returned, reason}
  local given_up, first = 0, nil
  for other_sid, other in pairs(acc.s) do
    if other.z == 1 then
      given_up = given_up + 1
      if other_sid ~= sid and
        (not first or other.d < acc.s[first].d or (other.d == acc.s[first].d and other_sid < first)) then first = other_sid end
    end
  end
  if given_up > MAX_GIVEN_UP then acc.s[first] = nil end
end

-- Sessions past their deadline are given up, those given up are forgotten at the end of their time. `keep` is left alone.
local function expire_sessions(acc, now, id, keep, events)
  local due
  for sid, session in pairs(acc.s) do
    if session.d <= now and sid ~= keep then
      due = due or {}
      due[#due + 1] = sid
    end
  end
  if not due then return end
  table.sort(due)
  for n = 1, #due do
    local session = acc.s[due[n]]
    if session and session.z == 1 then
      acc.s[due[n]] = nil
    elseif session then
      give_up(acc, due[n], session, 'deadline', now, id, events)
    end
  end
end

-- End the package's buckets: units not used do not carry over (HOT-PKG-2), but what sessions hold stays theirs until they report.
local function drop_buckets(acc, now)
  local lingering = {}
  for n = 1, #acc.b do
    local b = acc.b[n]
    if b[4] > 0 then
      local same
      for m = 1, #lingering do
        if lingering[m][1] == b[1] and lingering[m][5] == min(b[5], now) then same = lingering[m] end
      end
      if same then
        same[3], same[4] = same[3] + b[4], same[4] + b[4]
      else
        lingering[#lingering + 1] = {b[1], b[2], b[4], b[4], min(b[5], now)}
      end
    end
  end
  acc.b = lingering
  for _, session in pairs(acc.s) do
    for _, v in pairs(session.v) do
      for n = 1, #v.r do v.r[n][3] = min(v.r[n][3], now) end
    end
  end
end

-- Debit the package's price and lay out its buckets; the price does not count as spending of the month (HOT-CC-2).
-- terms: {id, price, period in s, {{bucket id, unit, quantity or -1}}}. Returns whether the credit paid for it.
local function start_period(acc, terms, starts, now, id, events)
  local price, paid = terms[2], acc.cr - acc.hc >= terms[2]
  drop_buckets(acc, now)
  acc.pk = terms[1]
  if paid then
    acc.cr, acc.sp = acc.cr - price, acc.sp + price
    acc.pp, acc.pe = 0, starts + terms[3]
    local list = terms[4]
    for n = 1, #list do acc.b[#acc.b + 1] = {list[n][1], list[n][2], list[n][3], 0, acc.pe} end
  else
    acc.pp, acc.pe = 1, 0
  end
  events[#events + 1] = {'package', now, id, terms[1], price, acc.pe, paid, paid and price or 0, acc.cr}
  return paid
end

local function journal_all(key_sequence, key_outbox, events)
  for n = 1, #events do journal(key_sequence, key_outbox, events[n]) end
end

-- Tell the workers that clients should hear from us (`Notice` in ocs/ledger/contract.py). `wanted` chooses among the live sessions.
local function notify(kind, reason, at, id, acc, wanted)
  local told = {}
  for sid, session in pairs(acc.s) do
    if session.z == 0 and wanted(session, sid) then
      told[#told + 1] = {sid, session.o, session.rl, session.vi, session.c}
    end
  end
  if #told > 0 then redis.call('PUBLISH', 'ocs:notices', pack({kind, reason, at, id, told})) end
end

local function any_session() return true end

-- A session with a service that lacks money or units.
local function starving(session)
  for _, v in pairs(session.v) do
    if v.f ~= NORMAL then return true end
  end
  return false
end
