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

-- Adds to `found` ({bucket, pooled, place in the leg's list}) what may pay, in order: priority, end, place, instance (docs/LEDGER.md, step 4).
local function collect(found, buckets, ids, now, pooled)
  for n = 1, #buckets do
    local bucket = buckets[n]
    local place = bucket.ended == 0 and bucket.ends > now and string.find(ids, ',' .. bucket.id .. ',', 1, true)
    if place then
      local rank = {bucket.priority, bucket.ends, place, pooled, bucket.instance}
      local m = #found + 1
      while m > 1 do
        local item, before = found[m - 1], false
        for r = 1, 5 do
          if rank[r] ~= item.rank[r] then
            before = rank[r] < item.rank[r]
            break
          end
        end
        if not before then break end
        found[m] = item
        m = m - 1
      end
      found[m] = {bucket = bucket, pooled = pooled, rank = rank}
    end
  end
end

-- The buckets that may pay for a leg now: items with `bucket` and `pooled`, in the order in which they pay.
local function usable_buckets(w, leg)
  local found, account, pool = {}, w.account, w.pool
  if leg.buckets == '' then return found end
  collect(found, account.buckets, leg.buckets, w.now, 0)
  if pool then collect(found, pool.buckets, leg.buckets, w.now, 1) end
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

local function forget_if_empty(buckets, bucket, place)
  if bucket.ended == 1 and bucket.held == 0 and bucket.left <= 0 then table.remove(buckets, place) end
end

-- Units that a hold no longer holds (`held` 1), or was granted before it was given up (0), in a bucket whose period is over: they leave it.
-- Returns what of them may still pay for what the service has used.
local function leave_ended(w, hold, held)
  local bucket, place = bucket_of(w, hold)
  if not bucket then return 0 end
  local units = hold.units
  if held == 1 then change_held(w, bucket, hold.pooled, -units) end
  if bucket.ended == 0 then return units end
  units = min(units, bucket.left)
  take_units(w, bucket, hold.pooled, units)
  local account, pool = w.account, w.pool
  forget_if_empty(hold.pooled == 1 and pool.buckets or account.buckets, bucket, place)
  return units
end

-- Give back what a service has reserved. `item.paid_back[leg]` = {{bucket id, instance, pooled, units, 1 if its period is over}}: what had
-- granted it, which pays first for what was used of the grant.
local function release_service(w, service, keep)
  local account, granted_by = w.account, keep and {}
  local legs = service.legs
  for n = 1, #legs do
    local leg, had = legs[n], {}
    for _, list in ipairs({leg.holds, leg.granted_by}) do
      for m = 1, #list do
        local hold = list[m]
        local bucket = bucket_of(w, hold)
        if bucket then
          local id, instance, ended = bucket.id, bucket.instance, bucket.ended
          had[#had + 1] = {id, instance, hold.pooled, leave_ended(w, hold, list == leg.holds and 1 or 0), ended}
        end
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

-- A period ends: units left are gone, but for those that sessions hold or were granted.
local function end_bucket(w, bucket, pooled)
  local account, kept = w.account, bucket.held
  if pooled == 0 then
    for _, session in pairs(account.sessions) do
      for _, service in pairs(session.services) do
        local legs = service.legs
        for n = 1, #legs do
          local leg = legs[n]
          local granted_by = leg.granted_by
          for m = 1, #granted_by do
            local hold = granted_by[m]
            if hold.pooled == 0 and hold.instance == bucket.instance then kept = kept + hold.units end
          end
        end
      end
    end
  else
    w.pool_changed = true
  end
  bucket.ended, bucket.ends = 1, min(bucket.ends, w.now)
  bucket.left = bucket.left < 0 and kept or min(bucket.left, kept)
end

local function end_buckets_in(w, buckets, subscription, pooled)
  for n = #buckets, 1, -1 do
    local bucket = buckets[n]
    if bucket.ended == 0 and bucket.subscription == subscription.instance and (pooled == 0 or bucket.owner == w.id) then
      end_bucket(w, bucket, pooled)
      forget_if_empty(buckets, bucket, n)
    end
  end
end

local function end_buckets(w, subscription)
  local account, pool = w.account, w.pool
  end_buckets_in(w, account.buckets, subscription, 0)
  if pool then end_buckets_in(w, pool.buckets, subscription, 1) end
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
