-- Charge one credit-control request: docs/LEDGER.md; RFC 8506 §7 table 6, TS 32.299 §6.3.
--
-- KEYS  1 account  2 outbox  3 outbox sequence  4 due set  5 answers of the session or, of a one-off request, of the event  6 pool, if named
-- ARGV  1 account id  2 msgpack of a `request` (ocs/ledger/layout.py)
-- Result  {flags, msgpack of an `outcome`}; flags: 1 the outcome is remembered from before, 2 something was journalled, 4 the session's answers
--         live longer now, 8 a session has begun under the id of one that ended

local request = unpack_value(ARGV[2])
local w = {id = ARGV[1], request = request, now = request.now, month = request.month, day = request.day, events = {}, taken = 0, keys = named_keys(KEYS),
  look = request.look == 1}
w.uid = uid_of(w.id)
w.field = (w.look and 'C' or request.type) .. request.number

local answer = identify(w)
if answer then return answer end
if w.look then return look(w) end
if anything_due(w) then
  run_agenda(w, request.type ~= 'E' and request.session_id)
else
  roll_counters(w)
  end_pool_buckets(w)
end
take_up(w)
add_counters(w)
release(w)
settle(w)
count(w)
reserve(w)
return conclude(w)
