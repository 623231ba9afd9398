-- Give the account another IMSI (a new SIM, HOT-ACC-11) or MSISDN. The caller has claimed it in the index; it deletes the
-- old entry and says so ("left"). `leaving` names the old id until then, so that the operation can be called again.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what ("imsi", "msisdn", "left"), value, asked_at, now, month, day, max_skew_s, pool,
--         life
-- Result  {"ok" | "again" (it has this id already), id that it leaves or ""}, {"leaving", id} (an earlier change is not
--         finished), {"state", ""} (terminated), …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return {why, ''} end
local account = work.account

local function lift_loss()
  for _, reason in ipairs({'lost', 'stolen'}) do
    if string.find(',' .. account.blocks .. ',', ',' .. reason .. ',', 1, true) then set_block(work, reason, false) end
  end
end

-- A SIM has a PUK1 of its own (HOT-GRP-1).
local function forget_puk()
  if account.customer == '' then return end
  local customer = unpack_value(account.customer)
  customer.puk_salt, customer.puk_hash, customer.puk_tries = '', '', 0
  account.customer = pack(customer)
end

if args.what == 'left' then
  if account.leaving == args.value then account.leaving = '' end
else
  local is_sim = args.what == 'imsi'
  local old = is_sim and account.imsi or account.msisdn
  if old == args.value then return {'again', account.leaving} end
  if account.leaving ~= '' then return {'leaving', account.leaving} end
  account.leaving = (is_sim and 'i' or 'm') .. old
  if is_sim then account.imsi = args.value else account.msisdn = args.value end
  journal(work, {k = 'identity', what = args.what})
  if is_sim then
    lift_loss()
    forget_puk()
  end
  notify(work, 'abort', 'identity', args.asked_at, any_session)
end
end_work(work)
return {'ok', account.leaving}
