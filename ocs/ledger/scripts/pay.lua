-- Paying for what was used and holding what is granted next: the arithmetic of charge.lua, put before it. Every function is told the account
-- and the session, and changes them.

local SLACK_S = 60 -- time may be so much ahead of our clock before a report of it counts as impossible
local OCTETS_SLACK_S = 5 -- reports that follow each other at once, at the fastest rate there is
local MESSAGES_SLACK = 255 -- parts of one long message beyond what was granted

-- Use is rounded once per session and rate (HOT-PKG-5): the prices of one rate, one for each window, have ids that differ only after the "@".
local function rate_of(price_id)
  local n = string.find(price_id, '@', 1, true)
  return n and string.sub(price_id, 1, n) or price_id
end

local function same_rate(one, other) return one == other or rate_of(one) == rate_of(other) end

local function raw_used(session, p)
  local raw = 0
  for price_id, tally in pairs(session.a) do
    if same_rate(price_id, p[1]) then raw = raw + tally[1] end
  end
  return raw
end

local function debit_credit(acc, session, line, p, tally, units)
  local debit = cost(p, tally[2] + units) - cost(p, tally[2])
  tally[2] = tally[2] + units
  acc.cr, acc.sp, acc.ms, session.x = acc.cr - debit, acc.sp + debit, acc.ms + debit, session.x + debit
  line.debit = line.debit + debit
  return debit
end

-- What other services of the session hold at the same price pays too, before use stays unpaid: the client may use their grants together
-- (credit pools, RFC 8506 §5.1.2), and one of them may report alone. Returns the units that are still not paid.
local function pay_from_neighbours(acc, session, line, p, k, tally, units, now)
  local keys = {}
  for key, v in pairs(session.v) do
    if v.g > 0 and v.p[1] == p[1] and v.k == k then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for n = 1, #keys do
    local v = session.v[keys[n]]
    for m = 1, #v.r do
      local held = v.r[m]
      local b, take = find_bucket(acc, held[1], held[3]), min(units, held[2])
      if b and is_current(acc, b, now) and take > 0 then
        held[2], b[4], units = held[2] - take, b[4] - take, units - take
        if b[3] >= 0 then b[3] = b[3] - take end
        line.paid_by[#line.paid_by + 1] = {b[1], take, b[5]}
        line.from_buckets = line.from_buckets + take
      end
    end
    local paid = min(units, affordable(p, tally[2], v.hm))
    if paid > 0 then
      local debit = debit_credit(acc, session, line, p, tally, paid)
      v.hm, acc.hc, units = v.hm - debit, acc.hc - debit, units - paid
    end
  end
  return units
end

-- Pay `used` raw units at price `p`: what is left of the service's own grant from a period that is over (`old`), buckets (HOT-PKG-3), then
-- credit as far as there is money. Adds to the record's line.
local function settle(acc, session, now, line, p, k, used, old)
  local tally = session.a[p[1]]
  if not tally then tally = {0, 0}; session.a[p[1]] = tally end
  local raw, paid_by = raw_used(session, p), line.paid_by
  local units = billable(p, raw + used) - billable(p, raw)
  tally[1] = tally[1] + used
  local owed = units
  if old then
    for n = 1, #old do
      local take = min(units, old[n][2])
      if take > 0 then
        old[n][2], units = old[n][2] - take, units - take
        paid_by[#paid_by + 1] = {old[n][1], take}
      end
    end
  end
  local buckets = usable_buckets(acc, k, now)
  for n = 1, #buckets do
    if units == 0 then break end
    local b, take = buckets[n], units
    if b[3] >= 0 then
      take = min(units, b[3] - b[4])
      b[3] = b[3] - take
    end
    if take > 0 then
      units = units - take
      paid_by[#paid_by + 1] = {b[1], take, b[5]}
    end
  end
  line.from_buckets = line.from_buckets + owed - units
  if units > 0 then
    local n = min(units, affordable(p, tally[2], acc.cr - acc.hc))
    debit_credit(acc, session, line, p, tally, n)
    units = units - n
    if units > 0 then units = pay_from_neighbours(acc, session, line, p, k, tally, units, now) end
    line.overrun = line.overrun + units
  end
end

-- A report that cannot be true tells nothing: what of the grant can have been used since the last report is charged, the rest is dropped and
-- said. Time passes a second a second, so the time reported must end before now; of octets there is a fastest rate; of messages
-- (a negative rate) nothing but the grant.
local function drop_impossible(s, v, granted, line, now)
  if s.rate == 0 then return end
  local could
  if s.rate < 0 then
    if s.reported <= granted + MESSAGES_SLACK then return end
    could = granted
  else
    local since, slack = max(now - v.u, 0), s.rate == 1 and SLACK_S or OCTETS_SLACK_S
    if s.reported <= granted + (since + slack) * s.rate then return end
    could = min(granted, since * s.rate)
  end
  local excess = s.reported - could
  line.dropped = excess
  for _, part in ipairs({'used', 'either', 'after'}) do
    local cut = min(excess, s[part])
    s[part], excess = s[part] - cut, excess - cut
  end
end

-- Use before and after the price switch of the grant in force: as the client says, what straddles it at the cheaper side; of time, which
-- passes by itself, as the clock says (digest §4.9).
local function by_switch(s, v, p, p2, now)
  local before, after = s.used, s.after
  if v.sw < 0 and s.rate == 1 and after + s.either == 0 then
    after = min(before, max(min(v.u + before, now) + v.sw, 0))
    before = before - after
  end
  if p2[1] == p[1] then return before + s.either + after, 0 end
  if p2[2] * p[3] < p[2] * p2[3] then return before, s.either + after end
  return before + s.either, after
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

-- Another service of the session has a grant at the same rate: the step begun is paid once and may be used by either, so it is not
-- given to both.
local function shared(session, v, p)
  if p[6] == 1 then return false end
  for _, other in pairs(session.v) do
    if other ~= v and other.g > 0 and (same_rate(other.p[1], p[1]) or (other.sw > 0 and same_rate(other.p2[1], p[1]))) then return true end
  end
  return false
end

-- How many raw units more `p` allows with what buckets and money there are, the raw units that count as used, and those that credit paid.
local function allowed(session, v, p, in_buckets, money)
  local tally = session.a[p[1]]
  local raw, paid = raw_used(session, p), tally and tally[2] or 0
  if shared(session, v, p) then raw = billable(p, raw) end
  local units = in_buckets
  if units < UNBOUNDED then units = min(units + affordable(p, paid, money), UNBOUNDED) end
  return raw_room(p, raw, units), raw, paid
end

-- Reserve up to `want` raw units, over a price switch at the dearer side (RFC 8506 §5.1.1), of what is left no more than the share of one of
-- `competing` sessions if it is scarce; returns granted, 1 if they are the last, and the reason for less.
local function reserve(acc, session, now, v, want, minimum, competing)
  local in_buckets, buckets = 0, usable_buckets(acc, v.k, now)
  for n = 1, #buckets do
    local b = buckets[n]
    if b[3] < 0 then in_buckets = UNBOUNDED; break end
    in_buckets = in_buckets + b[3] - b[4]
  end
  local reason, money = 'credit', acc.cr - acc.hc
  if in_buckets < UNBOUNDED and acc.lim >= 0 then
    local room = max(acc.lim - acc.ms - acc.hc, 0)
    if room < money then money, reason = room, 'limit' end
  end
  local p, p2 = v.p, v.sw > 0 and v.p2
  local room, raw, paid = allowed(session, v, p, in_buckets, money)
  local room2, raw2, paid2
  if p2 then
    room2, raw2, paid2 = allowed(session, v, p2, in_buckets, money)
    room = min(room, room2)
  end
  local grant = min(want, room)
  if competing > 1 and room < want * competing then grant = min(grant, max(minimum, idiv(room, competing))) end
  if grant <= 0 then return 0, 0, reason end
  local need, need2 = billable(p, raw + grant) - billable(p, raw), 0
  if p2 then need2 = billable(p2, raw2 + grant) - billable(p2, raw2) end
  for n = 1, #buckets do
    local most = max(need, need2)
    if most <= 0 then break end
    local b, take = buckets[n], most
    if b[3] >= 0 then take = min(most, b[3] - b[4]) end
    if take > 0 then
      b[4] = b[4] + take
      v.r[#v.r + 1] = {b[1], take, b[5]}
      need, need2 = need - take, need2 - take
    end
  end
  local held = 0
  if need > 0 then held = cost(p, paid + need) - cost(p, paid) end
  if need2 > 0 then held = max(held, cost(p2, paid2 + need2) - cost(p2, paid2)) end
  v.hm = held
  acc.hc = acc.hc + held
  v.g = grant
  if grant == room and room < want then return grant, 1, reason end
  return grant, 0, ''
end
