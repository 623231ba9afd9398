-- Change one setting of an account: the spending limit (HOT-CC-1), the bars (HOT-CC-5) or the state (HOT-ACC-11).
--
-- KEYS  1 account  2 outbox  3 outbox sequence  4 due set
-- ARGV  1 account id  2 msgpack {"limit" | "bars" | "state", value, now, month, asked at}; a limit of -1 is off, bars are comma separated, state "a" or "b"
-- Result  "ok", "state" (terminated), "unknown"

local id, q = ARGV[1], unpack_doc(ARGV[2])
local what, value, now, month, asked_at = unpack(q, 1, 5)
local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local acc = load(document)
if acc.st == 't' then return 'state' end

roll_month(acc, month)
if what == 'limit' then
  -- After a change the notifications start anew (HOT-CC-4).
  acc.lim, acc.nt = value, 0
elseif what == 'bars' then
  acc.br = value
else
  acc.st = value
end
if acc.pp == 1 and acc.st == 'a' then plan_now(acc, KEYS[4], id, now) end
redis.call('SET', KEYS[1], save(acc))
journal(KEYS[3], KEYS[2], {what, now, id, value})
if what == 'state' and value == 'b' then
  notify('abort', what, asked_at, id, acc, any_session)
else
  notify('reauthorize', what, asked_at, id, acc, any_session)
end
return 'ok'
