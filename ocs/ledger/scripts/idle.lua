-- Idle buckets and counters: those that no session of the account names. They are kept packed ("idle"), so that most
-- requests neither unpack nor pack them. They wake when a request names one, when the agenda runs, and in every
-- operation on the account. A script in which they woke puts them to sleep again at its end.

local MAX_NAMED = 4096 -- answers kept from call to call: does a list of ids have an id, does a rate name an idle id
local positions, idle_named, named_kept = {}, {}, 0

local function keep_answer(of, key, answer)
  if named_kept == MAX_NAMED then positions, idle_named, named_kept = {}, {}, 0 end
  of[key], named_kept = answer, named_kept + 1
  return answer
end

-- Position of an id in a list with commas on both sides; false = it is not there.
local function position_of(ids, id)
  local of_ids = positions[ids]
  if not of_ids then
    of_ids = {}
    positions[ids] = of_ids
  end
  local position = of_ids[id]
  if position ~= nil then return position end
  return keep_answer(of_ids, id, string.find(ids, ',' .. id .. ',', 1, true) or false)
end

local function has_id(list, id)
  for n = 1, #list do
    if list[n] == id then return true end
  end
  return false
end

-- Whether a packed rate names one of the idle ids.
local function names_idle(ids, packed)
  local of_ids = idle_named[ids]
  if not of_ids then
    of_ids = {}
    idle_named[ids] = of_ids
  end
  if of_ids[packed] ~= nil then return of_ids[packed] end
  local rate, named = unpacked(packed), false
  for id in string.gmatch(ids, '[^,]+') do
    named = named or position_of(rate.buckets, id) or has_id(rate.counters, id)
  end
  return keep_answer(of_ids, packed, named and true or false)
end

local function by_instance(bucket, next_bucket) return bucket.instance < next_bucket.instance end

local function wake_buckets(buckets, idle)
  for n = 1, #idle do buckets[#buckets + 1] = idle[n] end
  table.sort(buckets, by_instance)
end

-- `work.slept`: instances of the pool that were idle.
local function wake_pool(work)
  local pool = work.pool
  local idle, slept = unpack_value(pool.idle), {}
  for n = 1, #idle do
    local bucket = idle[n]
    slept[bucket.instance] = true
  end
  wake_buckets(pool.buckets, idle)
  work.slept, work.slept_ids = slept, pool.idle_ids
  pool.idle, pool.idle_ids, pool.idle_ends = '', '', 0
end

-- Unpack what is idle, of the account and of its pool.
local function wake(work)
  if work.woken then return end
  local account, pool = work.account, work.pool
  work.woken = true
  if account.idle ~= '' then
    local idle = unpack_value(account.idle)
    wake_buckets(account.buckets, idle.buckets)
    local counters, woken = account.counters, idle.counters
    for n = 1, #woken do
      roll_counter(work, woken[n])
      counters[#counters + 1] = woken[n]
    end
    account.idle, account.idle_ids, work.counters_by_rate = '', '', nil
  end
  if pool and pool.idle ~= '' then wake_pool(work) end
end

local function leg_wakes(work, packed)
  local account, pool = work.account, work.pool
  return (account.idle ~= '' and names_idle(account.idle_ids, packed))
    or (pool and pool.idle ~= '' and names_idle(pool.idle_ids, packed))
end

-- Wake what the request, or a service of its session, names. Late use may be paid by anything.
local function wake_named(work)
  local account, pool, request, session = work.account, work.pool, work.request, work.session
  if work.woken or (account.idle == '' and not (pool and pool.idle ~= '')) then return end
  if work.closed or (session and session.given_up == 1) then return wake(work) end
  local list, seen = request.services, ''
  for n = 1, #list do
    local requested = list[n]
    local rates = requested.legs
    for m = 1, #rates do
      seen = rates[m]
      if leg_wakes(work, seen) then return wake(work) end
    end
  end
  if not pool or not session then return end
  for _, service in pairs(session.services) do -- another member may have put its units of the pool to sleep
    local legs = service.legs
    for m = 1, #legs do
      local leg = legs[m]
      if leg.rate ~= seen and leg_wakes(work, leg.rate) then return wake(work) end
    end
  end
end

-- Rates of the account's sessions, and of the request.
local function rates_in_use(work)
  local account, rates = work.account, {}
  local function add(session)
    for _, service in pairs(session.services) do
      local legs = service.legs
      for n = 1, #legs do rates[#rates + 1] = rate_of(legs[n]) end
    end
  end
  for _, session in pairs(account.sessions) do add(session) end
  if work.session then add(work.session) end
  return rates
end

local function is_named(rates, id)
  for n = 1, #rates do
    local rate = rates[n]
    if position_of(rate.buckets, id) or has_id(rate.counters, id) then return true end
  end
  return false
end

-- Take the idle buckets out of a list. Returns them, and their ids. `only`: of these instances, nil = of all.
local function take_idle(buckets, rates, only)
  local idle, ids = {}, {}
  for n = #buckets, 1, -1 do
    local bucket = buckets[n]
    local may_sleep = not only or only[bucket.instance]
    if may_sleep and bucket.ended == 0 and bucket.held == 0 and not is_named(rates, bucket.id) then
      table.insert(idle, 1, table.remove(buckets, n))
      ids[bucket.id] = true
    end
  end
  return idle, ids
end

local function ids_text(ids)
  local sorted = {}
  for id in pairs(ids) do sorted[#sorted + 1] = id end
  table.sort(sorted)
  return #sorted > 0 and ',' .. table.concat(sorted, ',') .. ',' or ''
end

-- Of a pool only operations put to sleep what was awake: another member's session may use it.
local function put_pool_to_sleep(work, rates)
  local pool = work.pool
  local buckets, ids = take_idle(pool.buckets, rates, work.request and (work.slept or {}))
  pool.idle, pool.idle_ids, pool.idle_ends = #buckets > 0 and pack(buckets) or '', ids_text(ids), 0
  for n = 1, #buckets do
    local bucket = buckets[n]
    pool.idle_ends = pool.idle_ends == 0 and bucket.ends or min(pool.idle_ends, bucket.ends)
  end
  if work.slept and work.slept_ids ~= pool.idle_ids then work.pool_changed = true end
end

-- Pack what nothing names. A counter that holds something, or whose threshold is still to be journalled, stays awake;
-- so does one with a rolling window, which every request rolls.
local function put_to_sleep(work)
  if not work.woken then return end
  local account, pool, rates = work.account, work.pool, rates_in_use(work)
  work.woken = false
  local buckets, ids = take_idle(account.buckets, rates)
  local counters, idle_counters = account.counters, {}
  for n = #counters, 1, -1 do
    local counter = counters[n]
    if counter.held == 0 and counter.window ~= 'rolling' and not next_threshold(counter)
      and not is_named(rates, counter.id) then
      table.insert(idle_counters, 1, table.remove(counters, n))
      ids[counter.id] = true
    end
  end
  account.idle_ids = ids_text(ids)
  account.idle = account.idle_ids ~= '' and pack({buckets, idle_counters}) or ''
  if pool then put_pool_to_sleep(work, rates) end
end
