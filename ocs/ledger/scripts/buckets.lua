-- Buckets: which may pay, what is held on them, what happens when their period ends.

local function find_instance(buckets, instance)
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.instance == instance then return bucket, n end
  end
end

-- Bucket of a hold: one of the account or of its pool.
local function bucket_of(work, hold)
  if hold.pooled == 0 then
    local account = work.account
    return find_instance(account.buckets, hold.instance)
  end
  local pool = work.pool
  if pool then return find_instance(pool.buckets, hold.instance) end
end

-- Units of a share of this account, in a list of shares of a pool.
local function units_of_account(work, shares, instance)
  for n = 1, #shares do
    local share = shares[n]
    if share.account == work.account_id and share.instance == instance then return share.units, n end
  end
  return 0
end

-- Units that the account may use besides those it has used and holds of a pool's bucket (HOT-PKG-14): a limit of its
-- own counts before the common one.
local function member_room(work, bucket)
  local pool, limit = work.pool, nil
  local limits = pool.limits
  for n = 1, #limits do
    local pool_limit = limits[n]
    if pool_limit.bucket == bucket.id then
      if pool_limit.account == work.account_id then
        limit = pool_limit.units
      elseif pool_limit.account == '' then
        limit = limit or pool_limit.units
      end
    end
  end
  if not limit then return UNBOUNDED end
  local held = units_of_account(work, pool.shares, bucket.instance)
  return max(limit - held - units_of_account(work, pool.usage, bucket.instance), 0)
end

-- Count what the account uses of a pool's bucket, as long as the pool has limits.
local function note_usage(work, bucket, units)
  local pool = work.pool
  local usage = pool.usage
  if #pool.limits == 0 and #usage == 0 then return end
  local before, at = units_of_account(work, usage, bucket.instance)
  if not at then
    if units <= 0 then return end
    local share = new_share()
    share.account, share.instance = work.account_id, bucket.instance
    at = #usage + 1
    usage[at] = share
  end
  local share = usage[at]
  share.units = max(before + units, 0)
end

-- Add to `sources` the buckets that may pay: {bucket, pooled, position in the leg's list, most units}.
local function add_usable(work, sources, buckets, ids, pooled)
  for n = 1, #buckets do
    local bucket = buckets[n]
    local position = bucket.ended == 0 and bucket.ends > work.now and position_of(ids, bucket.id)
    if position then
      local most = pooled == 1 and member_room(work, bucket) or UNBOUNDED
      sources[#sources + 1] = {bucket = bucket, pooled = pooled, position = position, most = most}
    end
  end
end

-- Order in which buckets pay: priority, end of period, position, instance (docs/LEDGER.md, step 4).
local function pays_before(source, next_source)
  local bucket, next_bucket = source.bucket, next_source.bucket
  if bucket.priority ~= next_bucket.priority then return bucket.priority < next_bucket.priority end
  if bucket.ends ~= next_bucket.ends then return bucket.ends < next_bucket.ends end
  if source.position ~= next_source.position then return source.position < next_source.position end
  if source.pooled ~= next_source.pooled then return source.pooled < next_source.pooled end
  return bucket.instance < next_bucket.instance
end

-- Buckets that may pay for a leg now, in the order in which they pay, as `sources`.
local function usable_buckets(work, leg)
  local sources, account, pool, rate = {}, work.account, work.pool, rate_of(leg)
  if rate.buckets == '' then return sources end
  add_usable(work, sources, account.buckets, rate.buckets, 0)
  if pool then add_usable(work, sources, pool.buckets, rate.buckets, 1) end
  if #sources > 1 then table.sort(sources, pays_before) end
  return sources
end

-- Add `units` to what the account holds of a pool's bucket.
local function change_share(work, instance, units)
  local pool = work.pool
  local shares = pool.shares
  work.pool_changed = true
  for n = 1, #shares do
    local share = shares[n]
    if share.account == work.account_id and share.instance == instance then
      share.units = share.units + units
      if share.units == 0 then table.remove(shares, n) end
      return
    end
  end
  if units ~= 0 then
    local share = new_share()
    share.account, share.instance, share.units = work.account_id, instance, units
    shares[#shares + 1] = share
  end
end

local function change_held(work, bucket, pooled, units)
  bucket.held = bucket.held + units
  if pooled == 1 then change_share(work, bucket.instance, units) end
end

-- Take used units out of a bucket; an unlimited one (left = -1) does not change.
local function take_units(work, bucket, pooled, units)
  if bucket.left >= 0 then bucket.left = bucket.left - units end
  if pooled == 1 then
    work.pool_changed = true
    note_usage(work, bucket, units)
  end
  if bucket.left <= bucket.notify_at then work.bucket_thresholds = true end
end

local NEVER = -2 -- `notify_at` of a bucket without a further threshold; an unlimited one has -1 left

-- What is left of a quantity when so many percent are used.
local function left_at(quantity, percent)
  local rest = 100 - percent
  return idiv(quantity, 100) * rest + idiv(fmod(quantity, 100) * rest, 100)
end

-- Set the thresholds that are still to be notified: percentages with commas.
local function set_thresholds(bucket, quantity, thresholds)
  local first = string.match(thresholds, '^%d+')
  if first and quantity >= 0 then
    bucket.thresholds = string.format('%.0f ', quantity) .. thresholds
    bucket.notify_at = left_at(quantity, tonumber(first))
  else
    bucket.thresholds, bucket.notify_at = '', NEVER
  end
end

local function journal_thresholds_of(work, buckets)
  for n = 1, #buckets do
    local bucket = buckets[n]
    while bucket.left <= bucket.notify_at and bucket.ended == 0 do
      local quantity, percent, others = string.match(bucket.thresholds, '^(%d+) (%d+),?(.*)$')
      local muted = has_measure(work, 'mute', bucket.id, bucket.id .. ':' .. percent)
      quantity = tonumber(quantity)
      journal(work, {k = 'bucket', id = bucket.id, pct = tonumber(percent), quantity = quantity, left = bucket.left,
        subscription = bucket.subscription, muted = muted or nil})
      set_thresholds(bucket, quantity, others)
    end
  end
end

-- Journal the thresholds that a bucket has passed, each once per period (HOT-NOT-1).
local function journal_bucket_thresholds(work)
  local account, pool = work.account, work.pool
  journal_thresholds_of(work, account.buckets)
  if pool then journal_thresholds_of(work, pool.buckets) end
  work.bucket_thresholds = nil
end

-- Release the holds of a service. With `keep` returns, for each leg, what had granted it: {{bucket id, instance,
-- pooled, units}}. These buckets pay first for use of the grant.
local function release_service(work, service, keep)
  local account, granted_by = work.account, keep and {}
  local legs = service.legs
  for n = 1, #legs do
    local leg, had = legs[n], {}
    local holds, before = leg.holds, leg.granted_by
    for m = 1, #before + #holds do
      local held = m > #before
      local hold = held and holds[m - #before] or before[m]
      local bucket = bucket_of(work, hold)
      if bucket then
        if held then change_held(work, bucket, hold.pooled, -hold.units) end
        had[#had + 1] = {bucket.id, hold.instance, hold.pooled, hold.units}
      end
    end
    account.held = account.held - leg.held
    release_counters(work, leg)
    leg.holds, leg.granted_by, leg.held = {}, '', 0
    if keep then granted_by[n] = had end
  end
  service.granted = 0
  return granted_by
end

-- Units that sessions were granted before they were given up, by bucket instance.
local function granted_before_give_up(account)
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

-- Of an ended bucket only what is held stays; of the account's own also what was granted to sessions that were given
-- up. Empty buckets go.
local function trim_ended_in(buckets, granted)
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

local function trim_ended(work)
  local account, pool = work.account, work.pool
  if any_ended(account.buckets) then trim_ended_in(account.buckets, granted_before_give_up(account)) end
  if pool and any_ended(pool.buckets) then
    wake(work) -- its usage is looked up below
    trim_ended_in(pool.buckets, {})
    work.pool_changed = true
    local usage = pool.usage
    for n = #usage, 1, -1 do
      local share = usage[n]
      if not find_instance(pool.buckets, share.instance) then table.remove(usage, n) end
    end
  end
end

local function end_bucket(work, bucket, pooled)
  bucket.ended, bucket.ends = 1, min(bucket.ends, work.now)
  if pooled == 1 then work.pool_changed = true end
end

local function end_buckets_in(work, buckets, subscription, pooled)
  for n = 1, #buckets do
    local bucket = buckets[n]
    local own = pooled == 0 or bucket.owner == work.account_id
    if own and bucket.ended == 0 and bucket.subscription == subscription.instance then
      end_bucket(work, bucket, pooled)
    end
  end
end

-- Buckets of the pool whose period is over. One of another account waits for that account's agenda, which lays out the
-- next period's, but at most `late_s`: the account may have left. `work.pool_owners`: accounts that are waited for.
local function end_pool_buckets(work)
  local pool, late_s = work.pool, 600
  if not pool then return end
  if pool.idle_ends > 0 and pool.idle_ends <= work.now then wake(work) end
  local buckets = pool.buckets
  for n = 1, #buckets do
    local bucket = buckets[n]
    if bucket.ended == 0 and bucket.ends <= work.now then
      if bucket.owner == work.account_id or bucket.ends + late_s <= work.now then
        end_bucket(work, bucket, 1)
      else
        work.pool_owners = work.pool_owners or {}
        work.pool_owners[bucket.owner] = true
      end
    end
  end
end

-- End the buckets and counters of a subscription's period.
local function end_buckets(work, subscription)
  local account, pool, terms = work.account, work.pool, subscription.terms
  if subscription.state == 'active' or subscription.state == 'ending' then end_period_counters(work, terms) end
  end_buckets_in(work, account.buckets, subscription, 0)
  if pool then end_buckets_in(work, pool.buckets, subscription, 1) end
end

-- Subscriptions of the account, unpacked at first use. `save` packs them again.
local function subscriptions_of(work)
  if not work.subscriptions then
    local account = work.account
    work.subscriptions = account.subscriptions == '' and {} or unpack_value(account.subscriptions)
  end
  return work.subscriptions
end

-- Keep in the document what most requests need, so that they do not unpack the subscriptions.
local function sum_up_subscriptions(work)
  local account, list = work.account, work.subscriptions
  local period_ends, due, armed, unpaid = UNBOUNDED, UNBOUNDED, 0, 0
  for n = 1, #list do
    local subscription = list[n]
    local state = subscription.state
    if state == 'active' or state == 'ending' then
      period_ends, due = min(period_ends, subscription.ends), min(due, subscription.ends)
      if subscription.notice_at > 0 then due = min(due, subscription.notice_at) end
    elseif state == 'planned' then
      due = min(due, subscription.due)
    elseif state == 'armed' then
      armed = armed + 1
    else
      unpaid = unpaid + 1
    end
  end
  account.period_ends = period_ends == UNBOUNDED and 0 or period_ends
  account.subscriptions_due = due == UNBOUNDED and 0 or due
  account.armed, account.unpaid, account.subscriptions = armed, unpaid, #list > 0 and pack(list) or ''
  derive_facts(work)
end

-- When the first running period ends of which the account uses units: its own, or one of its pool; 0 = never.
local function period_end_of(work)
  local account, pool, ends = work.account, work.pool, UNBOUNDED
  if account.period_ends > 0 then ends = account.period_ends end
  if pool then
    local buckets = pool.buckets
    if pool.idle_ends > work.now then ends = min(ends, pool.idle_ends) end
    for n = 1, #buckets do
      local bucket = buckets[n]
      if bucket.ended == 0 and bucket.ends > work.now then ends = min(ends, bucket.ends) end
    end
  end
  return ends == UNBOUNDED and 0 or ends
end

-- Write everything that has changed.
local function save(work)
  trim_ended(work)
  put_to_sleep(work)
  if work.index_changes then
    for _, command in ipairs({'SADD', 'SREM'}) do
      for session_id, key in pairs(work.index_changes[command]) do
        redis.call(command, key, work.account_id .. ' ' .. session_id)
      end
    end
  end
  if work.subscriptions then sum_up_subscriptions(work) end
  if work.measures then
    local account = work.account
    account.measures = #work.measures > 0 and pack(work.measures) or ''
  end
  redis.call('SET', work.keys.account, pack(work.account))
  if work.pool and work.pool_changed then redis.call('SET', work.keys.pool, pack(work.pool)) end
end

-- Create the buckets of a period, in the account's pool if the product is shared.
local function create_buckets(work, subscription)
  local account, pool, terms = work.account, work.pool, subscription.terms
  local shared = terms.shared == 1 and pool
  local list = terms.buckets
  for n = 1, #list do
    local included, bucket = list[n], new_bucket()
    bucket.id = included.id
    bucket.unit = included.unit
    bucket.left = included.quantity
    set_thresholds(bucket, included.quantity, included.thresholds)
    bucket.priority = included.priority
    bucket.subscription, bucket.starts, bucket.ends = subscription.instance, subscription.starts, subscription.ends
    if shared then
      pool.last_instance = pool.last_instance + 1
      bucket.instance, bucket.owner, work.pool_changed = pool.last_instance, work.account_id, true
      table.insert(pool.buckets, bucket)
    else
      account.last_instance = account.last_instance + 1
      bucket.instance = account.last_instance
      table.insert(account.buckets, bucket)
    end
  end
end
