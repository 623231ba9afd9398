-- Take over an account that was frozen in another partition.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 any
-- ARGV  1 its new id  2 msgpack map: document, of (its old id), moved_from (all old ids, separated by blanks),
--         look_back_s, now, month, day, life
-- Result  "ok", "again" (it is here already)

local id, args = ARGV[1], unpack_value(ARGV[2])
local document = redis.call('GET', KEYS[1])
local account = document and read_document('account', document)
-- State "m": what the account left here when it moved away before.
if document and not (account and account.state == 'm') then return 'again' end
local why
account, why = read_document('account', args.document)
if not account then return why end
account.moved_to = ''
account.moved_from = args.moved_from
account.look_back_until = args.now + args.look_back_s
account.due = 0
local work = {account_id = id, now = args.now, month = args.month, day = args.day, account = account, pool = false,
  events = {}, life = args.life, keys = named_keys(KEYS), by = args.by ~= '' and args.by or nil}
journal(work, {k = 'moved_in', of = args.of, credit_in = account.credit, credit = account.credit,
  separate_in = some(account.separate), promo = some(account.promotional)})
if account.transfers ~= '' then redis.call('ZADD', key_prefix(work) .. 'transit', 'NX', work.now, id) end
for session_id, session in pairs(account.sessions) do
  if session.given_up == 0 then index_session(work, session_id, session, 'SADD') end
end
if account.auto_asked == 1 then redis.call('ZADD', key_prefix(work) .. 'topups', work.now, id) end
reschedule(work)
save(work)
journal_all(work)
return 'ok'
