-- Credit an account once per reference (HOT-TOP-1, HOT-ACC-7); the active period starts anew (HOT-ACC-3), and what was unpaid begins if the
-- credit now covers it (HOT-PKG-2). A blocked account takes money; its package waits.
--
-- KEYS  1 to 4 as charge.lua  5 references of this month  6 pool  7 … references of the months before
-- ARGV  1 account id  2 msgpack map: amount, reference, active_until, keep_s (of the references), asked_at, now, month, day, max_skew_s, pool
-- Result  "ok", "again" (this reference was applied before), "ceiling", "state" (terminated), "unknown", …

local id, q = ARGV[1], unpack_value(ARGV[2])
local field = 'top_up:' .. q.reference
for n = 5, #KEYS do
  if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return 'again' end
end
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return why end
local account = w.account
if w.now >= account.active_until + LIFE_S then return 'state' end -- it has ended, though nobody has swept it yet (HOT-ACC-6)
if account.credit + q.amount > CEILING then return 'ceiling' end

account.credit, account.paid_in = account.credit + q.amount, account.paid_in + q.amount
account.active_until, account.told_inactive = max(account.active_until, q.active_until), 0
journal(w, {k = 'topup', credit_in = q.amount, ref = q.reference, credit = account.credit})
end_work(w)
redis.call('HSET', KEYS[5], field, q.uid)
redis.call('EXPIRE', KEYS[5], q.keep_s)
notify(w, 'reauthorize', 'topup', q.asked_at, starving)
return 'ok'
