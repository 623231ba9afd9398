-- Wrong entries of voucher numbers (HOT-TOP-3): count one, ask whether one more may be made, or forgive all.
--
-- KEYS  as top_up.lua
-- ARGV  1 account id  2 msgpack map: what ("wrong", "ask", "lift"), entry (its id, of "wrong"), uid, keep_s, now, month,
--         day, max_skew_s, pool, life
-- Result  {"ok" | "again" (this entry was counted before; there was nothing to lift), wrong entries},
--         {"voucher_blocked", wrong entries}, {"state", 0}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return {why, 0} end
local account = work.account
local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()
local wrong = customer.wrong_vouchers or 0 -- a document of an earlier build has none

if args.what == 'lift' then
  if wrong == 0 then return {'again', 0} end
  journal(work, {k = 'voucher', state = 'lifted', wrong = wrong})
  wrong = 0
else
  local entry = 'entry:' .. args.uid .. ' ' .. args.entry
  for n = 5, #KEYS do
    if n ~= 6 and redis.call('HEXISTS', KEYS[n], entry) == 1 then return {'again', wrong} end
  end
  if wrong >= MAX_WRONG_VOUCHERS then return {'voucher_blocked', wrong} end
  if args.what == 'ask' then return {'ok', wrong} end
  wrong = wrong + 1
  journal(work, {k = 'voucher', state = 'wrong', wrong = wrong})
  if wrong == MAX_WRONG_VOUCHERS then journal(work, {k = 'voucher_blocked', wrong = wrong}) end
  redis.call('HSET', KEYS[5], entry, args.uid)
  redis.call('EXPIRE', KEYS[5], args.keep_s)
end
customer.wrong_vouchers = wrong
account.customer = pack(customer)
end_work(work)
return {'ok', wrong}
