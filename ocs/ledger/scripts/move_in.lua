-- An account that was frozen in another partition begins to live in this one.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 any
-- ARGV  1 its new id  2 msgpack map: document, of (its old id), moved_from (that and those before it, with blanks between), look_back_s, now, month, day
-- Result  "ok", "again" (it is here)

local id, q = ARGV[1], unpack_value(ARGV[2])
local document = redis.call('GET', KEYS[1])
local account = document and unpacked('account', document)
if document and not (account and account.state == 'm') then return 'again' end -- but for what it left here when it moved away before
local why
account, why = unpacked('account', q.document)
if not account then return why end
account.moved_to, account.moved_from, account.look_back_until, account.due = '', q.moved_from, q.now + q.look_back_s, 0
local w = {id = id, now = q.now, month = q.month, day = q.day, account = account, pool = false, events = {}, keys = named_keys(KEYS)}
journal(w, {k = 'moved_in', of = q.of, credit_in = account.credit, credit = account.credit})
for sid, session in pairs(account.sessions) do
  if session.given_up == 0 then index_session(w, sid, session, 'SADD') end
end
plan_anew(w)
save(w)
journal_all(w)
return 'ok'
