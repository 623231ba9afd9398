-- Open a pool in the account's partition, let the account use its buckets, or take that back (HOT-PKG-14).
--
-- KEYS  1 to 4 as charge.lua  5 the pool that is meant  6 pool of the account
-- ARGV  1 account id  2 msgpack map: what ("open", "join", "leave"), wanted (pool id), now, month, day, max_skew_s, pool
-- Result  "ok", "unknown", "sessions" (it holds units of its pool), "pool_unknown", …

local id, q = ARGV[1], unpack_value(ARGV[2])
if q.what == 'open' then
  if redis.call('EXISTS', KEYS[5]) == 0 then
    local pool = new_pool()
    pool.version, pool.readable_from = VERSION, READABLE_FROM
    redis.call('SET', KEYS[5], pack(pool))
  end
  return 'ok'
end
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return why end
local account, pool = w.account, w.pool
if q.what == 'join' and redis.call('EXISTS', KEYS[5]) == 0 then return 'pool_unknown' end
if account.pool == q.wanted then return 'ok' end
if pool then
  local shares = pool.shares
  for n = 1, #shares do
    local share = shares[n]
    if share.account == id then return 'sessions' end
  end
  local subscriptions = account.subscriptions
  for n = 1, #subscriptions do end_buckets_in(w, pool.buckets, subscriptions[n], 1) end
end
journal(w, {k = 'pool', pool = q.wanted})
end_work(w)
account.pool = q.wanted
redis.call('SET', KEYS[1], pack(account))
notify(w, 'reauthorize', 'pool', q.now, any_session)
return 'ok'
