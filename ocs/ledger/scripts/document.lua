-- The account's document (records: ocs/ledger/layout.py). A script reads it once and writes it once.
--
-- A script works on one table `work`: account_id; now, month, day of the operation; account; pool (false = none);
-- keys; events to be journalled; reauthorize (Session-Ids that get a RAR); by (who acts; nil = the network, or time).

local DUPLICATE, JOURNALLED, PROLONGED, REUSED = 1, 2, 4, 8 -- flags of the result of charge.lua

local function named_keys(KEYS)
  return {account = KEYS[1], outbox = KEYS[2], sequence = KEYS[3], due = KEYS[4], own = KEYS[5], pool = KEYS[6]}
end

-- "clock" if `now` is further off Redis's clock than allowed, else nil.
local function clock_error(now, max_skew_s)
  if max_skew_s <= 0 then return nil end
  local redis_now = tonumber(redis.call('TIME')[1])
  if now > redis_now + max_skew_s or now < redis_now - max_skew_s then return 'clock' end
end

local MAX_TERMS_KEPT = 1024 -- functions keep them from call to call, scripts by SHA1 for one call
local terms_kept, count_kept = {}, 0

-- Terms that many requests have in the same octets (rates, counters, life), unpacked once. They are shared: never
-- change them.
local function unpacked(packed)
  local found = terms_kept[packed]
  if not found then
    if count_kept == MAX_TERMS_KEPT then terms_kept, count_kept = {}, 0 end
    found = unpack_value(packed)
    terms_kept[packed], count_kept = found, count_kept + 1
  end
  return found
end

-- Rate of a leg. It is shared: never change it.
local function rate_of(leg) return terms_kept[leg.rate] or unpacked(leg.rate) end

local function read_document(kind, document)
  local ok, header = pcall(read_rows, kind, document)
  if not ok or not header then ok, header = pcall(unpack_value, document) end
  local last = kind == 'pool' and POOL_END or ACCOUNT_END
  if not ok or type(header) ~= 'table' or type(header.version) ~= 'number' or type(header[last]) ~= 'table' then
    return nil, 'unreadable'
  end
  if header.readable_from > VERSION then return nil, 'version' end
  if header.version < VERSION then bring_up(kind, header) end
  header.version = VERSION
  return header
end

-- Result of a script: `word`, with the account's document if the caller wants to see the account afterwards.
local function with_document(word, args, key)
  if not args.look then return word end
  return {word, redis.call('GET', key) or ''}
end

-- Load the account's pool. Returns nil, or why not: "pool" (the caller named another, or it does not exist),
-- "unreadable", "version".
local function load_pool(work, named)
  local account = work.account
  work.pool = false
  if account.pool == '' then return named ~= '' and 'pool' or nil end
  if account.pool ~= named then return 'pool' end
  local document = redis.call('GET', work.keys.pool)
  if not document then return 'pool' end
  local row, why = read_document('pool', document)
  if not row then return why end
  work.pool, work.pool_changed = row, false
end

-- Journal an event {k = kind, t = time, a = account, by = who acts, …}. Sequence numbers have no gaps: they rise in the same script.
local function journal(work, event)
  event.t, event.a, event.by = work.now, work.account_id, work.by
  work.events[#work.events + 1] = event
end

local function journal_all(work)
  for n = 1, #work.events do
    local sequence = redis.call('INCR', work.keys.sequence)
    redis.call('XADD', work.keys.outbox, string.format('%.0f-0', sequence), 'e', pack(work.events[n]))
  end
  return #work.events > 0
end

-- An amount of an event; nothing stands for 0.
local function some(amount) return amount ~= 0 and amount or nil end

-- The part of the account id that stays when the account moves to another partition.
local function uid_of(id) return string.match(id, '-(.*)$') end

local function state_at(account, now)
  if account.state == 'a' and now >= account.active_until then return 'i' end
  return account.state
end

-- "{tag}:" of this partition, for index keys that are not in KEYS.
local function key_prefix(work) return string.match(work.keys.account, '^{[^}]*}:') end

-- Stored beside an answer: tells a repetition from a new request with the same numbers.
local function fingerprint_of(work)
  local request = work.request
  return request.content .. ' ' .. string.format('%.0f %.0f', request.end_to_end, work.now)
end

local function read_fingerprint(fingerprint)
  local content, end_to_end, at = string.match(fingerprint, '^(%S*) (%d+) (%d+)$')
  return content, tonumber(end_to_end), tonumber(at)
end
