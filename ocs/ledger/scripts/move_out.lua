-- Move an account to another partition: "freeze" it and return its document; once it is stored there, "leave" a
-- document of state "m" here that names the new id.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what, to (its new id), keep_s (TTL of what stays here), now, month, day,
--         max_skew_s, pool
-- Result  {"ok", document}, {"again", ""} (it has left), {"unknown" | "state" | "pooled" | "moved …", ""}

local id, args = ARGV[1], unpack_value(ARGV[2])
local document = redis.call('GET', KEYS[1])
if not document then return {'unknown', ''} end
local account, why = read_document('account', document)
if not account then return {why, ''} end
if args.what == 'freeze' then
  if account.state == 'm' then return {'moved ' .. account.moved_to, ''} end
  if account.moved_to ~= '' then return {'ok', pack(account)} end
  if account.state == 't' then return {'state', ''} end
  if account.pool ~= '' then return {'pooled', ''} end
  account.moved_to = args.to
  local frozen = pack(account)
  redis.call('SET', KEYS[1], frozen)
  return {'ok', frozen}
end
if account.state == 'm' then return {'again', ''} end
local work = {account_id = id, now = args.now, month = args.month, day = args.day, account = account, pool = false,
  events = {}, keys = named_keys(KEYS)}
journal(work, {k = 'moved_out', to = account.moved_to, debit = account.credit, credit = 0,
  separate_out = some(account.separate), promo = some(account.promotional)})
for session_id, session in pairs(account.sessions) do index_session(work, session_id, session, 'SREM') end
redis.call('ZREM', KEYS[4], id)
redis.call('ZREM', key_prefix(work) .. 'topups', id)
redis.call('ZREM', key_prefix(work) .. 'transit', id)
local left = new_account()
work.account = left
local moved_to = account.moved_to
account = left
account.version, account.readable_from, account.state, account.moved_to = VERSION, READABLE_FROM, 'm', moved_to
redis.call('SET', KEYS[1], pack(account), 'EX', args.keep_s)
journal_all(work)
return {'ok', ''}
