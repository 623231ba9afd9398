-- Change one setting of an account: a counter's limit (HOT-CC-1), the bars (HOT-CC-5), the state (HOT-ACC-11), or an entry of its agenda.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: what ("limit", "bars", "state", "remind"), value (limit or -1, comma separated bars, "a" or "b", or the time),
--         counter, kind, ref, asked_at, now, month, day, max_skew_s, pool
-- Result  "ok", "state" (terminated), "counter" (there is none), "unknown", …

local id, q = ARGV[1], unpack_value(ARGV[2])
local w, why = begin_work(id, q, named_keys(KEYS))
if not w then return why end
local account = w.account
if account.state == 't' then return 'state' end

local function remind()
  local agenda = account.agenda
  for n = #agenda, 1, -1 do
    local entry = agenda[n]
    if entry.kind == q.kind and entry.ref == q.ref then table.remove(agenda, n) end
  end
  if q.value > 0 then
    local entry = new_entry()
    entry.at, entry.kind, entry.ref = q.value, q.kind, q.ref
    agenda[#agenda + 1] = entry
  end
end

if q.what == 'limit' then
  local counter = find_counter(account, q.counter)
  if not counter then return 'counter' end
  -- After a change the notifications start anew (HOT-CC-4).
  counter.limit, counter.told = q.value, 0
  journal(w, {k = 'limit', counter = q.counter, limit = q.value})
elseif q.what == 'bars' then
  account.bars = q.value
  journal(w, {k = 'bars', bars = q.value})
elseif q.what == 'state' then
  account.state = q.value
  journal(w, {k = 'state', state = q.value})
else
  remind()
end
end_work(w)
if q.what == 'state' and q.value == 'b' then
  notify(w, 'abort', q.what, q.asked_at, any_session)
elseif q.what ~= 'remind' then
  notify(w, 'reauthorize', q.what, q.asked_at, any_session)
end
return 'ok'
