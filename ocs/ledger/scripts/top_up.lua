-- Credit an account once per reference (HOT-TOP-1, HOT-ACC-7). The active period restarts (HOT-ACC-3); unpaid
-- subscriptions start if the credit now covers them (HOT-PKG-2). A blocked account takes money; its package waits.
--
-- KEYS  1 to 4 as charge.lua  5 references of this month  6 pool  7 … references of the months before
-- ARGV  1 account id  2 msgpack map: amount, promotional, reference, keep_s (TTL of references), asked_at, now, month,
--         day, max_skew_s, pool, life
-- Result  "ok", "again" (this reference was applied before), "ceiling", "state" (terminated), "unknown", …

local id, args = ARGV[1], unpack_value(ARGV[2])
local field = 'top_up:' .. args.reference
for n = 5, #KEYS do
  if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return 'again' end
end
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return why end
local account = work.account
-- Its life is over, though the sweeper has not terminated it yet (HOT-ACC-6).
if work.now >= end_of_life(work) then return 'state' end
if account.credit + args.amount > CEILING then return 'ceiling' end

account.credit, account.paid_in = account.credit + args.amount, account.paid_in + args.amount
local promotional = args.promotional and args.amount or 0
account.promotional = account.promotional + promotional
extend_life(work)
journal(work, {k = 'topup', credit_in = args.amount, ref = args.reference, credit = account.credit,
  promo = some(promotional)})
end_work(work)
redis.call('HSET', KEYS[5], field, args.uid)
redis.call('EXPIRE', KEYS[5], args.keep_s)
notify(work, 'reauthorize', 'topup', args.asked_at, lacks_funds)
return 'ok'
