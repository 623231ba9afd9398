-- Move an account to another partition: "freeze" it and give its document; when it stands there, "leave" a tombstone here.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what, to (its new id), keep_s (of the tombstone), now, month, day, max_skew_s, pool
-- Result  {"ok", document}, {"again", ""} (it has left), {"unknown" | "state" | "pool" | "moved …", ""}

local id, q = ARGV[1], unpack_value(ARGV[2])
local document = redis.call('GET', KEYS[1])
if not document then return {'unknown', ''} end
local account, why = unpacked('account', document)
if not account then return {why, ''} end
if q.what == 'freeze' then
  if account.state == 'm' then return {'moved ' .. account.moved_to, ''} end
  if account.moved_to ~= '' then return {'ok', pack(account)} end
  if account.state == 't' then return {'state', ''} end
  if account.pool ~= '' then return {'pooled', ''} end
  account.moved_to = q.to
  local frozen = pack(account)
  redis.call('SET', KEYS[1], frozen)
  return {'ok', frozen}
end
if account.state == 'm' then return {'again', ''} end
local w = {id = id, now = q.now, month = q.month, day = q.day, account = account, pool = false, events = {}, keys = named_keys(KEYS)}
journal(w, {k = 'moved_out', to = account.moved_to, debit = account.credit, credit = 0})
for sid, session in pairs(account.sessions) do index_session(w, sid, session, 'SREM') end
redis.call('ZREM', KEYS[4], id)
local left = new_account()
w.account = left
local moved_to = account.moved_to
account = left
account.version, account.readable_from, account.state, account.moved_to = VERSION, READABLE_FROM, 'm', moved_to
redis.call('SET', KEYS[1], pack(account), 'EX', q.keep_s)
journal_all(w)
return {'ok', ''}
