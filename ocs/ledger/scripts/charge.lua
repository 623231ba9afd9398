-- Charge one credit-control request: docs/LEDGER.md; RFC 8506 §7 table 6, TS 32.299 §6.3.
--
-- KEYS  1 account  2 outbox  3 outbox sequence  4 due set  5 answers of the session or of the one-off event
--       6 pool, if the caller knows one
-- ARGV  1 account id  2 fields of a `request` (ocs/ledger/layout.py), msgpack values one after the other
--       3 … those of each `requested_service`
-- Result  {flags, msgpack of an `outcome`}; flags: 1 repetition, the outcome is the remembered one, 2 something was
--         journalled, 4 the TTL of the session's answers was prolonged, 8 a new session has an old Session-Id

local request, services = {unpack_value(ARGV[2])}, {}
for n = 3, #ARGV do services[n - 2] = {unpack_value(ARGV[n])} end
request.services = services
-- All fields that most requests set, so that the table does not grow.
local work = {account_id = ARGV[1], request = request, now = request.now, month = request.month, day = request.day,
  events = {}, debit = 0, promotional = 0, life = unpacked(request.life), keys = named_keys(KEYS),
  is_balance_check = request.look == 1, is_one_off = request.type == 'E', answer_field = '', account = false,
  pool = false, pool_changed = false, woken = false, facts_before = '', session = false, closed = false,
  reopened = false, replaces = false, reused = false, late = false, out_of_order = false, highest_before = 0,
  kept_apart = false, open_sessions = 0, items = false, several_services = false, counters_by_rate = false,
  low_credit = false, tombstone = false}
work.answer_field = (work.is_balance_check and 'C' or request.type) .. request.number

local answer = identify(work)
if answer then return answer end
if work.is_balance_check then return check_balance(work) end
if anything_due(work) then
  run_agenda(work, request.type ~= 'E' and request.session_id)
else
  wake_named(work)
  roll_counters(work)
  end_pool_buckets(work)
end
begin_life(work)
answer = other_facts(work)
if answer then return answer end
begin_or_resume(work)
add_counters(work)
release(work)
settle(work)
count(work)
reserve(work)
return conclude(work)
