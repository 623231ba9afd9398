-- Membership in a business group, the PUK1 of the SIM, the separate account (HOT-GRP-1, HOT-GRP-5). Each step may be
-- called again. A terminated account may still leave its group.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what ("join", "leave", "puk", "puk_try", "puk_right", "separate"), group, role,
--         salt, hash (of the PUK1; "" = not known), most (wrong entries allowed), open (of the separate account, 0 or 1),
--         now, month, day, max_skew_s, pool, life, by
-- Result  {"ok" | "again" (nothing to change), salt, hash}, {"grouped" (in another group), …}, {"no_puk" | "puk_blocked", …},
--         {"separate" (it has credit, and the account is in a group), …}, {"ceiling", …}, {"state", …}, …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS), nil, args.what == 'leave')
if not work then return {why, '', ''} end
local account = work.account
local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()

local function tell_group(state, group) journal(work, {k = 'group', group = group, state = state}) end

local function tell(name, value) journal(work, {k = 'customer', name = name, value = value}) end

local function join()
  if customer.group ~= '' and customer.group ~= args.group then return 'grouped' end
  if customer.group == args.group and customer.role == args.role then return 'again' end
  local state = customer.group == '' and args.role == 'member' and 'joined' or args.role
  customer.group, customer.role = args.group, args.role
  tell_group(state, args.group)
end

local function leave()
  if customer.group == '' or customer.group ~= args.group then return 'again' end
  customer.group, customer.role = '', ''
  tell_group('left', args.group)
end

local function set_puk()
  customer.puk_salt, customer.puk_hash, customer.puk_tries = args.salt, args.hash, 0
  tell('puk', args.hash ~= '' and 'set' or '')
end

-- Counted before the entry is compared, so that entries at the same time are bounded too.
local function try_puk()
  if customer.puk_hash == '' then return 'no_puk' end
  if customer.puk_tries >= args.most then return 'puk_blocked' end
  customer.puk_tries = customer.puk_tries + 1
  if customer.puk_tries == args.most then tell('puk', 'blocked') end
end

local function puk_was_right()
  local blocked = customer.puk_tries >= args.most
  customer.puk_tries = 0
  if blocked then tell('puk', 'right') end
end

-- What is left of a separate account that ends is the account's credit, unless that belongs to the group.
local function set_separate()
  if customer.separate == args.open then return 'again' end
  local amount = account.separate
  if args.open == 0 and amount > 0 then
    if customer.group ~= '' then return 'separate' end
    if account.credit + amount > CEILING then return 'ceiling' end
    account.credit, account.separate = account.credit + amount, 0
  end
  customer.separate = args.open
  local list = subscriptions_of(work)
  for n = 1, args.open == 0 and #list or 0 do
    local subscription = list[n]
    subscription.separate = 0
  end
  local moved = args.open == 0 and amount or 0
  journal(work, {k = 'separate', open = args.open, separate_out = some(moved), credit_in = some(moved),
    credit = account.credit, separate = account.separate})
end

local steps = {join = join, leave = leave, puk = set_puk, puk_try = try_puk, puk_right = puk_was_right,
  separate = set_separate}
local refused = steps[args.what]()
if refused then return {refused, '', ''} end
account.customer = pack(customer)
end_work(work)
return {'ok', customer.puk_salt, customer.puk_hash}
