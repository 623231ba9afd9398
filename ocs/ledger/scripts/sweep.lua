-- Look at one account whose time has come: all that is due, its life too (HOT-ACC-4, HOT-ACC-6), and plan the next look.
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 pool
-- ARGV  1 account id  2 msgpack map: now, month, day, max_skew_s, pool
-- Result  {"ok", ""}, {"terminated", IMSI}, {"unknown", ""}, …

local id, q = ARGV[1], unpack_value(ARGV[2])
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then
  if why == 'unknown' or string.sub(why, 1, 5) == 'moved' then redis.call('ZREM', KEYS[4], id) end
  return {why, ''}
end
local account, word = w.account, 'ok'
if account.state ~= 't' and w.now >= account.active_until then
  if account.told_inactive == 0 then
    account.told_inactive = 1
    journal(w, {k = 'state', state = 'i'})
  end
  if w.now >= account.active_until + LIFE_S then
    terminate(w, w.now)
    word = 'terminated'
  end
end
end_work(w)
return {word, account.imsi}
