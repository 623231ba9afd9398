-- Replace a payment order by its next state, if nobody else has changed it since it was read (ocs/policy/payments.py
-- decides the state).
--
-- KEYS  1 to 4 as charge.lua  5 orders of the account  6 any  7 orders with something to do
-- ARGV  1 account id  2 msgpack map: order (an `order`, its version that of the one it replaces), tell (whether the
--         change is an event), keep_s, now, month, day, max_skew_s
-- Result  {"ok" | "again" | "unknown", msgpack of the `order` that is stored now}

local id, args = ARGV[1], unpack_value(ARGV[2])
local why = clock_error(args.now, args.max_skew_s)
if why then return {why, ''} end
local order = args.order
local packed = redis.call('HGET', KEYS[5], order.id)
if not packed then return {'unknown', ''} end
local other_order = unpack_value(packed)
if other_order.version ~= order.version then return {'again', packed} end
order.version, order.changed = order.version + 1, args.now
packed = pack(order)
redis.call('HSET', KEYS[5], order.id, packed)
redis.call('EXPIRE', KEYS[5], args.keep_s)
if order.due > 0 then
  redis.call('ZADD', KEYS[7], order.due, order.id)
else
  redis.call('ZREM', KEYS[7], order.id)
end
if args.tell then
  local work = {account_id = id, now = args.now, events = {}, keys = named_keys(KEYS), by = args.by ~= '' and args.by or nil}
  journal(work, {k = 'payment', order = order.id, state = order.state, channel = order.kind, amount = order.amount,
    reason = order.reason, payer = order.payer})
  journal_all(work)
end
return {'ok', packed}
