-- Included units: which buckets may pay, what is held on them, what becomes of them when their period ends.

local function find_instance(buckets, instance)
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.instance == instance then return bucket, n end
  end
end

-- The bucket of a hold, in the account or in its pool.
local function bucket_of(w, hold)
  if hold.pooled == 0 then
    local account = w.account
    return find_instance(account.buckets, hold.instance)
  end
  local pool = w.pool
  if pool then return find_instance(pool.buckets, hold.instance) end
end

-- Adds to `found` what may pay: items with bucket, pooled, place (in the leg's list).
local function collect(found, buckets, ids, now, pooled)
  for n = 1, #buckets do
    local bucket = buckets[n]
    local place = bucket.ended == 0 and bucket.ends > now and string.find(ids, ',' .. bucket.id .. ',', 1, true)
    if place then found[#found + 1] = {bucket = bucket, pooled = pooled, place = place} end
  end
end

-- The order in which buckets pay: priority, end, place, instance (docs/LEDGER.md, step 4).
local function pays_before(item, next_item)
  local bucket, next_bucket = item.bucket, next_item.bucket
  if bucket.priority ~= next_bucket.priority then return bucket.priority < next_bucket.priority end
  if bucket.ends ~= next_bucket.ends then return bucket.ends < next_bucket.ends end
  if item.place ~= next_item.place then return item.place < next_item.place end
  if item.pooled ~= next_item.pooled then return item.pooled < next_item.pooled end
  return bucket.instance < next_bucket.instance
end

-- The buckets that may pay for a leg now, in the order in which they pay: items with `bucket` and `pooled`.
local function usable_buckets(w, leg)
  local found, account, pool, rate = {}, w.account, w.pool, rate_of(leg)
  if rate.buckets == '' then return found end
  collect(found, account.buckets, rate.buckets, w.now, 0)
  if pool then collect(found, pool.buckets, rate.buckets, w.now, 1) end
  if #found > 1 then table.sort(found, pays_before) end
  return found
end

-- What an account holds of a pool's bucket changes by `units`.
local function change_share(w, instance, units)
  local pool = w.pool
  local shares = pool.shares
  w.pool_changed = true
  for n = 1, #shares do
    local share = shares[n]
    if share.account == w.id and share.instance == instance then
      share.units = share.units + units
      if share.units == 0 then table.remove(shares, n) end
      return
    end
  end
  if units ~= 0 then
    local share = new_share()
    share.account, share.instance, share.units = w.id, instance, units
    shares[#shares + 1] = share
  end
end

local function change_held(w, bucket, pooled, units)
  bucket.held = bucket.held + units
  if pooled == 1 then change_share(w, bucket.instance, units) end
end

-- Units are used: they leave the bucket (an unlimited one has no fewer).
local function take_units(w, bucket, pooled, units)
  if bucket.left >= 0 then bucket.left = bucket.left - units end
  if pooled == 1 then w.pool_changed = true end
end

-- Give back what a service has reserved. With `keep` the result says, by leg, what had granted it: {{bucket id, instance, pooled, units}}. That
-- pays first for what was used of the grant.
local function release_service(w, service, keep)
  local account, granted_by = w.account, keep and {}
  local legs = service.legs
  for n = 1, #legs do
    local leg, had = legs[n], {}
    local holds, before = leg.holds, leg.granted_by
    for m = 1, #before + #holds do
      local held = m > #before
      local hold = held and holds[m - #before] or before[m]
      local bucket = bucket_of(w, hold)
      if bucket then
        if held then change_held(w, bucket, hold.pooled, -hold.units) end
        had[#had + 1] = {bucket.id, hold.instance, hold.pooled, hold.units}
      end
    end
    account.held = account.held - leg.held
    release_counters(w, leg)
    leg.holds, leg.granted_by, leg.held = {}, {}, 0
    if keep then granted_by[n] = had end
  end
  service.granted = 0
  return granted_by
end

-- Units of ended buckets that sessions were granted before they were given up, by instance.
local function granted_before(account)
  local units = {}
  for _, session in pairs(account.sessions) do
    for _, service in pairs(session.services) do
      local legs = service.legs
      for n = 1, #legs do
        local leg = legs[n]
        local granted_by = leg.granted_by
        for m = 1, #granted_by do
          local hold = granted_by[m]
          if hold.pooled == 0 then units[hold.instance] = (units[hold.instance] or 0) + hold.units end
        end
      end
    end
  end
  return units
end

-- What is left of a period that is over is for those who hold it or, of the account's own, were granted it; empty buckets go.
local function trim_buckets(buckets, granted)
  for n = #buckets, 1, -1 do
    local bucket = buckets[n]
    if bucket.ended == 1 then
      local kept = bucket.held + (granted[bucket.instance] or 0)
      bucket.left = bucket.left < 0 and kept or min(bucket.left, kept)
      if bucket.left == 0 then table.remove(buckets, n) end
    end
  end
end

local function any_ended(buckets)
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.ended == 1 then return true end
  end
  return false
end

local function trim(w)
  local account, pool = w.account, w.pool
  if any_ended(account.buckets) then trim_buckets(account.buckets, granted_before(account)) end
  if pool and any_ended(pool.buckets) then
    trim_buckets(pool.buckets, {})
    w.pool_changed = true
  end
end

local function end_bucket(w, bucket, pooled)
  bucket.ended, bucket.ends = 1, min(bucket.ends, w.now)
  if pooled == 1 then w.pool_changed = true end
end

local function end_buckets_in(w, buckets, subscription, pooled)
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.ended == 0 and bucket.subscription == subscription.instance and (pooled == 0 or bucket.owner == w.id) then
      end_bucket(w, bucket, pooled)
    end
  end
end

-- Of the pool, those of other accounts' subscriptions that are over.
local function end_pool_buckets(w)
  local pool = w.pool
  if not pool then return end
  local buckets = pool.buckets
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.ended == 0 and bucket.ends <= w.now then end_bucket(w, bucket, 1) end
  end
end

-- A subscription's period ends: units left are gone, but what sessions hold or were granted stays for them.
local function end_buckets(w, subscription)
  local account, pool, terms = w.account, w.pool, subscription.terms
  end_period_counters(w, terms)
  end_buckets_in(w, account.buckets, subscription, 0)
  if pool then end_buckets_in(w, pool.buckets, subscription, 1) end
end

-- The account's subscriptions: read when they are first needed, packed again at the end.
local function subscriptions_of(w)
  if not w.subscriptions then
    local account = w.account
    w.subscriptions = account.subscriptions == '' and {} or unpack_value(account.subscriptions)
  end
  return w.subscriptions
end

-- What is known of subscriptions without reading them.
local function sum_up_subscriptions(w)
  local account, list = w.account, w.subscriptions
  local period_ends, due, armed = UNBOUNDED, UNBOUNDED, 0
  for n = 1, #list do
    local subscription = list[n]
    local state = subscription.state
    if state == 'active' or state == 'ending' then
      period_ends, due = min(period_ends, subscription.ends), min(due, subscription.ends)
    elseif state == 'planned' then
      due = min(due, subscription.due)
    elseif state == 'armed' then
      armed = armed + 1
    end
  end
  account.period_ends, account.subscriptions_due = period_ends == UNBOUNDED and 0 or period_ends, due == UNBOUNDED and 0 or due
  account.armed, account.subscriptions = armed, #list > 0 and pack(list) or ''
end

-- Everything that was changed, written at once.
local function save(w)
  trim(w)
  if w.index then
    for _, command in ipairs({'SADD', 'SREM'}) do
      for sid, key in pairs(w.index[command]) do redis.call(command, key, w.id .. ' ' .. sid) end
    end
  end
  if w.subscriptions then sum_up_subscriptions(w) end
  redis.call('SET', w.keys.account, pack(w.account))
  if w.pool and w.pool_changed then redis.call('SET', w.keys.pool, pack(w.pool)) end
end

-- A period begins: its buckets are laid out, in the account's pool if they are shared.
local function lay_out_buckets(w, subscription)
  local account, pool, terms = w.account, w.pool, subscription.terms
  local shared = terms.shared == 1 and pool
  local list = terms.buckets
  for n = 1, #list do
    local included, bucket = list[n], new_bucket()
    bucket.id, bucket.unit, bucket.left, bucket.priority = included.id, included.unit, included.quantity, included.priority
    bucket.subscription, bucket.starts, bucket.ends = subscription.instance, subscription.starts, subscription.ends
    if shared then
      pool.last_instance = pool.last_instance + 1
      bucket.instance, bucket.owner, w.pool_changed = pool.last_instance, w.id, true
      table.insert(pool.buckets, bucket)
    else
      account.last_instance = account.last_instance + 1
      bucket.instance = account.last_instance
      table.insert(account.buckets, bucket)
    end
  end
end
