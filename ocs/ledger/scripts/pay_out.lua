-- Pay out what is refundable and not held, once per reference (HOT-ACC-10). What the early end of a commitment costs is
-- taken first (HOT-REC-4).
--
-- KEYS  as top_up.lua
-- ARGV  1 account id  2 msgpack map: reference, uid, reason, states (letters in which it is allowed), keep_s,
--         shares (see pay_last_shares), now, month, day, max_skew_s, pool, life
-- Result  {"ok", micro-EUR}, {"again", 0} (this reference was applied before), {"nothing", 0}, {"state", 0}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local field = 'pay_out:' .. args.uid .. ' ' .. args.reference
for n = 5, #KEYS do
  if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return {'again', 0} end
end
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return {why, 0} end
if not string.find(args.states, state_at(work.account, work.now), 1, true) then return {'state', 0} end
pay_last_shares(work, args.shares)
local amount = pay_out(work, args.reference, args.reason)
if amount == 0 then return {'nothing', 0} end
end_work(work)
redis.call('HSET', KEYS[5], field, args.uid)
redis.call('EXPIRE', KEYS[5], args.keep_s)
return {'ok', amount}
