-- Run the agenda of one account that is due, end its active period or its life (HOT-ACC-4, HOT-ACC-6), and set the time
-- at which it is due next.
--
-- KEYS  1 to 4 as charge.lua  5 subscribers of the partition  6 pool
-- ARGV  1 account id  2 msgpack map: now, month, day, max_skew_s, pool
-- Result  {"ok" | "terminated", MSISDN, IMSI}, {"unknown", "", ""}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), nil, true)
if not work then
  if why == 'unknown' or string.sub(why, 1, 5) == 'moved' then redis.call('ZREM', KEYS[4], id) end
  return {why, '', ''}
end
local account, word = work.account, 'ok'
tell_life(work)
if account.state ~= 't' and work.now >= end_of_life(work) then
  terminate(work, work.now, 'life', false, {})
  word = 'terminated'
end
end_work(work)
return {word, account.msisdn, account.imsi}
