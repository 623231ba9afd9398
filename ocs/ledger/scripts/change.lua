-- Change one setting of an account: a counter's limit (HOT-CC-1), the bars (HOT-CC-5), the state (HOT-ACC-11), or a
-- reminder on its agenda.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what ("limit", "bars", "state", "remind"), value (limit or -1; bars with commas;
--         "a" or "b"; Unix time), counter, kind, ref, asked_at, now, month, day, max_skew_s, pool
-- Result  "ok", "state" (terminated), "counter" (the account does not have it), "unknown", …

local id, args = ARGV[1], unpack_value(ARGV[2])
local work, why = begin_work(id, args, named_keys(KEYS))
if not work then return why end
local account = work.account

local function remind()
  local agenda = account.agenda
  for n = #agenda, 1, -1 do
    local entry = agenda[n]
    if entry.kind == args.kind and entry.ref == args.ref then table.remove(agenda, n) end
  end
  if args.value > 0 then
    local entry = new_entry()
    entry.at, entry.kind, entry.ref = args.value, args.kind, args.ref
    agenda[#agenda + 1] = entry
  end
end

if args.what == 'limit' then
  local counter = find_counter(account, args.counter)
  if not counter then return 'counter' end
  -- Thresholds are notified again after a change (HOT-CC-4).
  counter.limit, counter.told = args.value, 0
  journal(work, {k = 'limit', counter = args.counter, limit = args.value})
elseif args.what == 'bars' then
  account.bars = args.value
  journal(work, {k = 'bars', bars = args.value})
elseif args.what == 'state' then
  account.state = args.value
  journal(work, {k = 'state', state = args.value})
else
  remind()
end
end_work(work)
if args.what == 'state' and args.value == 'b' then
  notify(work, 'abort', args.what, args.asked_at, any_session)
elseif args.what ~= 'remind' then
  notify(work, 'reauthorize', args.what, args.asked_at, any_session)
end
return 'ok'
