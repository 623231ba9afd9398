-- Credit an account once per reference (HOT-TOP-1, HOT-ACC-7). The active period restarts (HOT-ACC-3); unpaid
-- subscriptions start if the credit now covers them (HOT-PKG-2). A blocked account takes money; its package waits.
--
-- What is decided on a voucher's claim is final: a refusal is stored too, so that a late repetition cannot credit a
-- voucher that was given back.
--
-- KEYS  1 to 4 as charge.lua  5 references of this month  6 pool  7 … references of the months before
-- ARGV  1 account id  2 msgpack map: amount, channel, promotional, separate (to the separate account), reference,
--         keep_s (TTL of references), asked_at, now, month, day, max_skew_s, pool, life, look
-- Result  "ok", "again" (this reference was applied before), "given_back" (of a voucher's claim: it was refused before),
--         "ceiling", "state" (terminated), "no_separate", "voucher_blocked" (HOT-TOP-3), "unknown", …; with `look` "ok"
--         and "again" come with the document: {word, document}

local id, args = ARGV[1], unpack_value(ARGV[2])
local is_voucher = args.channel == 'voucher'
local field = (is_voucher and 'voucher:' or 'top_up:') .. args.reference
local refused_field = 'refused:' .. args.reference

local function was(name)
  for n = 5, #KEYS do
    if n ~= 6 and redis.call('HEXISTS', KEYS[n], name) == 1 then return true end
  end
end

local function remember(name)
  redis.call('HSET', KEYS[5], name, args.uid)
  redis.call('EXPIRE', KEYS[5], args.keep_s)
end

local function refuse(why)
  local final = why == 'state' or why == 'ceiling' or why == 'voucher_blocked' or why == 'no_separate'
  if is_voucher and final then remember(refused_field) end
  return why
end

if was(field) then return with_document('again', args, KEYS[1]) end
if is_voucher and was(refused_field) then return 'given_back' end
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return refuse(why) end
local account = work.account
-- Its life is over, though the sweeper has not terminated it yet (HOT-ACC-6).
if work.now >= end_of_life(work) then return refuse('state') end
local customer = account.customer ~= '' and unpack_value(account.customer) or new_customer()
if args.separate and customer.separate == 0 then return refuse('no_separate') end
if (args.separate and account.separate or account.credit) + args.amount > CEILING then return refuse('ceiling') end
if is_voucher and customer.wrong_vouchers >= MAX_WRONG_VOUCHERS then return refuse('voucher_blocked') end

account.paid_in = account.paid_in + args.amount
local promotional = args.promotional and args.amount or 0
if args.separate then
  account.separate = account.separate + args.amount
else
  account.credit, account.promotional = account.credit + args.amount, account.promotional + promotional
end
extend_life(work)
journal(work, {k = 'topup', credit_in = args.separate and 0 or args.amount, ref = args.reference, credit = account.credit,
  channel = args.channel, separate_in = args.separate and args.amount or nil, promo = some(promotional)})
end_work(work)
remember(field)
notify(work, 'reauthorize', 'topup', args.asked_at, lacks_funds)
return with_document('ok', args, KEYS[1])
