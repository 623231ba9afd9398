-- Open a pool in the account's partition, let the account join it, or leave it; limit what a member may use of it
-- (HOT-PKG-14).
--
-- KEYS  1 to 4 as charge.lua  5 the pool to open or join  6 pool of the account
-- ARGV  1 account id  2 msgpack map: what ("open", "join", "leave", "limit"), wanted (pool id), bucket, units (-1 =
--         no limit), common (for all members without a limit of their own), now, month, day, max_skew_s, pool
-- Result  "ok", "unknown", "sessions" (the account holds units of its pool), "pool_unknown", "no_pool" (the
--         account is in none), …

local id, args = ARGV[1], unpack_value(ARGV[2])
if args.what == 'open' then
  if redis.call('EXISTS', KEYS[5]) == 0 then
    local pool = new_pool()
    pool.version, pool.readable_from = VERSION, READABLE_FROM
    redis.call('SET', KEYS[5], pack(pool))
  end
  return 'ok'
end
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return why end
local account, pool = work.account, work.pool
if args.what == 'limit' then
  if not pool then return 'no_pool' end
  local limits, member = pool.limits, args.common and '' or id
  for n = #limits, 1, -1 do
    local pool_limit = limits[n]
    if pool_limit.account == member and pool_limit.bucket == args.bucket then table.remove(limits, n) end
  end
  if args.units >= 0 then
    local pool_limit = new_pool_limit()
    pool_limit.account, pool_limit.bucket, pool_limit.units = member, args.bucket, args.units
    limits[#limits + 1] = pool_limit
  end
  work.pool_changed = true
  journal(work, {k = 'pool_limit', pool = account.pool, bucket = args.bucket, units = args.units,
    common = args.common and 1 or 0})
  end_work(work)
  notify(work, 'reauthorize', 'pool', args.now, any_session)
  return 'ok'
end
local joined, document = false, args.what == 'join' and redis.call('GET', KEYS[5])
if args.what == 'join' then
  if not document then return 'pool_unknown' end
  joined, why = read_document('pool', document)
  if not joined then return why end
end
if account.pool == args.wanted then return 'ok' end
if pool then
  local shares = pool.shares
  for n = 1, #shares do
    local share = shares[n]
    if share.account == id then return 'sessions' end
  end
  local limits = pool.limits
  for n = #limits, 1, -1 do
    local pool_limit = limits[n]
    if pool_limit.account == id then
      table.remove(limits, n)
      work.pool_changed = true
    end
  end
  for _, session in pairs(account.sessions) do
    for _, service in pairs(session.services) do
      local legs = service.legs
      for n = 1, #legs do
        local leg = legs[n]
        local granted_by = leg.granted_by
        for m = #granted_by, 1, -1 do
          local hold = granted_by[m]
          if hold.pooled == 1 then table.remove(granted_by, m) end
        end
      end
    end
  end
end
-- Put the units of running shared products into the pool; what sessions hold, or were granted, stays with the account.
local function share_units()
  local subscriptions, shared, granted = subscriptions_of(work), {}, granted_before_give_up(account)
  for n = 1, #subscriptions do
    local subscription = subscriptions[n]
    local terms = subscription.terms
    shared[subscription.instance] = terms.shared == 1
  end
  local buckets, kept = account.buckets, {}
  for n = 1, #buckets do
    local bucket, pool = buckets[n], joined
    if shared[bucket.subscription] and bucket.ended == 0 and bucket.held == 0 and not granted[bucket.instance] then
      pool.last_instance = pool.last_instance + 1
      bucket.instance, bucket.owner = pool.last_instance, id
      table.insert(pool.buckets, bucket)
    else
      kept[#kept + 1] = bucket
    end
  end
  account.buckets = kept
end

journal(work, {k = 'pool', pool = args.wanted})
end_work(work)
account.pool = args.wanted
if joined then
  wake(work)
  share_units()
  put_to_sleep(work)
  redis.call('SET', KEYS[5], pack(joined))
end
redis.call('SET', KEYS[1], pack(account))
notify(work, 'reauthorize', 'pool', args.now, any_session)
return 'ok'
