-- Journal an event that moves nothing: a call of the API (ocs/api/trail.py), an erasure. The account may have ended, or be none.
--
-- KEYS  1 to 4 as charge.lua
-- ARGV  1 account id, "" = no account  2 msgpack map: event (k and what else it has), by, now
-- Result  "ok"

local args = unpack_value(ARGV[2])
local work = {account_id = ARGV[1], now = args.now, events = {}, keys = named_keys(KEYS),
  by = args.by ~= '' and args.by or nil}
journal(work, args.event)
journal_all(work)
return 'ok'
