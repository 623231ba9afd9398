-- Transfer credit between the administrator and a member of a group (HOT-GRP-2), in three steps: "out" takes it from the
-- sender and notes it as in transit; "in" credits the receiver, once, or refuses for good; "end" forgets what was in
-- transit, or returns it. A transfer is no top-up: it prolongs nothing (HOT-ACC-3).
--
-- KEYS  as top_up.lua
-- ARGV  1 account id  2 msgpack map: what, reference, group, uid, keep_s, asked_at, now, month, day, max_skew_s, pool, life,
--         by; of "out": amount, to, with_promotional; of "in": transfer (unique), amount, promotional, of, role; of "end":
--         transfer, instance, refused ("" = it arrived)
-- Result  {"ok" | "again" (done before), instance, promotional part, role that the receiver must have}; "out" {"group" |
--         "state" | "funds" | "transfers", …}; "in" {"no ceiling" | "no state" | "no group", …} (also when asked again);
--         {"unknown", …}, …

local id, args = ARGV[1], unpack_value(ARGV[2])

local function is_noted(field)
  for n = 5, #KEYS do
    if n ~= 6 and redis.call('HEXISTS', KEYS[n], field) == 1 then return true end
  end
end

local function note(field)
  redis.call('HSET', KEYS[5], field, args.uid)
  redis.call('EXPIRE', KEYS[5], args.keep_s)
end

local sent = 'transfer:' .. args.uid .. ' ' .. args.reference
if args.what == 'out' and is_noted(sent) then return {'again', 0, 0, ''} end
if args.what == 'in' then
  if is_noted('transfer_in:' .. args.transfer) then return {'again', 0, 0, ''} end
  for _, why in ipairs({'ceiling', 'state', 'group'}) do
    if is_noted('transfer_no:' .. args.transfer .. ' ' .. why) then return {'no ' .. why, 0, 0, ''} end
  end
end

local work, why = begin_work(id, args, named_keys(KEYS), nil, args.what ~= 'out')
if not work then return {why, 0, 0, ''} end
local account = work.account
local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()
local transfers = account.transfers ~= '' and unpack_value(account.transfers) or {}
local index = key_prefix(work) .. 'transit'

local function out()
  if customer.group == '' or customer.group ~= args.group then return 'group' end
  if state_at(account, work.now) ~= 'a' then return 'state' end
  if #transfers >= MAX_TRANSFERS then return 'transfers' end
  local before, promotional, most = account.credit, 0, account.credit - account.held
  if not args.with_promotional then most = min(most, account.credit - min(account.promotional, account.credit)) end
  if args.amount > most then return 'funds' end
  if args.with_promotional then
    promotional = take_credit(work, args.amount)
  else
    account.credit = account.credit - args.amount
  end
  note_low_credit(work, before)
  account.sent, account.last_instance = account.sent + args.amount, account.last_instance + 1
  local transfer = new_transfer()
  transfer.instance, transfer.to, transfer.reference, transfer.at = account.last_instance, args.to, args.reference, work.now
  transfer.amount, transfer.promotional, transfer.group = args.amount, promotional, args.group
  transfer.role = customer.role == 'administrator' and 'member' or 'administrator'
  transfers[#transfers + 1] = transfer
  redis.call('ZADD', index, 'NX', work.now, id)
  journal(work, {k = 'transfer_out', transfer = string.format('%s-%.0f', args.uid, transfer.instance), to = args.to,
    group = args.group, ref = args.reference, debit = args.amount, credit = account.credit, promo = some(promotional)})
  return nil, transfer
end

local function credit_in()
  local refused
  if account.state == 't' or work.now >= end_of_life(work) then
    refused = 'state'
  elseif customer.group ~= args.group or customer.role ~= args.role then
    refused = 'group'
  elseif account.credit + args.amount > CEILING then
    refused = 'ceiling'
  end
  if refused then
    note('transfer_no:' .. args.transfer .. ' ' .. refused)
    return 'no ' .. refused
  end
  account.credit, account.received = account.credit + args.amount, account.received + args.amount
  account.promotional = account.promotional + args.promotional
  journal(work, {k = 'transfer_in', transfer = args.transfer, of = args.of, group = args.group, ref = args.reference,
    credit_in = args.amount, credit = account.credit, promo = some(args.promotional)})
end

-- What comes back to an account that has been terminated meanwhile expires, as its credit did.
local function give_back(transfer)
  local amount, promotional, expired = transfer.amount, transfer.promotional, account.state == 't'
  account.sent = account.sent - amount
  if expired then
    account.expired, promotional = account.expired + amount, 0
  else
    account.credit, account.promotional = account.credit + amount, account.promotional + promotional
  end
  for n = 5, #KEYS do
    if n ~= 6 then redis.call('HDEL', KEYS[n], sent) end
  end
  journal(work, {k = 'transfer_back', transfer = args.transfer, to = transfer.to, group = transfer.group,
    ref = transfer.reference, reason = args.refused, credit_in = not expired and amount or nil,
    expired = expired and amount or nil, credit = account.credit, promo = some(promotional)})
end

local function finish()
  for n = 1, #transfers do
    local transfer = transfers[n]
    if transfer.instance == args.instance then
      table.remove(transfers, n)
      if args.refused ~= '' then give_back(transfer) end
      if #transfers == 0 then redis.call('ZREM', index, id) end
      return
    end
  end
  return 'again'
end

local steps = {out = out, ['in'] = credit_in, ['end'] = finish}
local word, transfer = steps[args.what]()
if word then return {word, 0, 0, ''} end
account.transfers = #transfers > 0 and pack(transfers) or ''
end_work(work)
if args.what == 'out' then
  note(sent)
  return {'ok', transfer.instance, transfer.promotional, transfer.role}
end
if args.what == 'in' then note('transfer_in:' .. args.transfer) end
notify(work, 'reauthorize', 'topup', args.asked_at, lacks_funds)
return {'ok', 0, 0, ''}
