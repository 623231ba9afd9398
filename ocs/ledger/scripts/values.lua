-- Arithmetic of prices and units (PriceTerms in ocs/values/use.py). Numbers are integers below 2^53; `fmod` is exact
-- where `%` and `/` are not.

local fmod, min, max = math.fmod, math.min, math.max
local pack, unpack_value = cmsgpack.pack, cmsgpack.unpack

local function idiv(a, b) return (a - fmod(a, b)) / b end

-- R(raw): billable units for `raw` raw units of a session (HOT-PKG-5).
local function billable(price, raw)
  if raw <= 0 then return 0 end
  if price.flat == 1 then return 1 end
  local first, step = price.first_step, price.next_step
  if raw <= first then return first end
  local over = raw - first
  local rest = fmod(over, step)
  if rest > 0 then over = over + step - rest end
  return first + over
end

-- M(c) for c < den: cost in micro-EUR of c units paid by credit, rounded once.
local function part_cost(price, c)
  local exact, den = c * price.num, price.den
  local rest = fmod(exact, den)
  local cost = (exact - rest) / den
  if rest > 0 and (price.rounding == 'up' or (price.rounding == 'half_up' and 2 * rest >= den)) then cost = cost + 1 end
  return cost
end

-- M(c) for any c; no product exceeds 2^53.
local function cost(price, c)
  local den = price.den
  local rest = fmod(c, den)
  return (c - rest) / den * price.num + part_cost(price, rest)
end

-- Largest n with M(already + n) - M(already) <= money.
local function affordable(price, already, money)
  local num, den = price.num, price.den
  if num == 0 then return UNBOUNDED end
  local base = fmod(already, den)
  local target = part_cost(price, base) + money
  -- den units cost num: one division finds the block of den units, another the place within it.
  local rest = fmod(target, num)
  local c = (target - rest) / num * den
  if price.rounding == 'up' then
    c = c + idiv(rest * den, num)
  elseif price.rounding == 'down' then
    c = c + idiv((rest + 1) * den - 1, num)
  else
    c = c + idiv((2 * rest + 1) * den - 1, 2 * num)
  end
  return max(c - base, 0)
end

-- Raw units that `units` billable units allow on top of `raw` used ones.
local function raw_room(price, raw, units)
  if price.flat == 1 then
    if raw > 0 or units >= 1 then return UNBOUNDED end
    return 0
  end
  if units >= UNBOUNDED then return UNBOUNDED end
  if raw == 0 then
    if units < price.first_step then return 0 end
    return units - fmod(units - price.first_step, price.next_step)
  end
  return billable(price, raw) - raw + units - fmod(units, price.next_step)
end

-- Name of a price's rate: its id up to the "@". A rate has one price per time window; use is rounded once per session
-- and rate (HOT-PKG-5).
local function rate_name(price_id)
  local n = string.find(price_id, '@', 1, true)
  return n and string.sub(price_id, 1, n) or price_id
end

local function same_rate(one, another) return one == another or rate_name(one) == rate_name(another) end
