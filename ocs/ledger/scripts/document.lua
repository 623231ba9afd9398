-- The account's document, read once and written once by a script; ocs/ledger/layout.py says what it is made of.
--
-- A script works on one table `w`: id, now, month, day of the account and the operation; account; pool (false = none loaded); events to be
-- journalled; asked (sessions to be asked by RAR); keys.

local DUPLICATE, JOURNALLED, PROLONGED, REUSED = 1, 2, 4, 8 -- flags of what charge.lua gives

-- KEYS of every script on an account.
local function named_keys(KEYS)
  return {account = KEYS[1], outbox = KEYS[2], sequence = KEYS[3], due = KEYS[4], own = KEYS[5], pool = KEYS[6]}
end

-- Why a script does nothing: "clock", "unreadable", "version"; nil = go on.
local function wrong_clock(now, max_skew_s)
  if max_skew_s <= 0 then return nil end
  local redis_now = tonumber(redis.call('TIME')[1])
  if now > redis_now + max_skew_s or now < redis_now - max_skew_s then return 'clock' end
end

local MAX_RATES_KEPT = 1024 -- a catalogue's rates; functions keep them from call to call, scripts by SHA1 for one call
local rates, rates_kept = {}, 0

-- The rate of a leg, which nobody changes; the same octets are unpacked once.
local function rate_of(leg)
  local packed = leg.rate
  local rate = rates[packed]
  if not rate then
    if rates_kept == MAX_RATES_KEPT then rates, rates_kept = {}, 0 end
    rate = unpack_value(packed)
    rates[packed], rates_kept = rate, rates_kept + 1
  end
  return rate
end

local function unpacked(kind, document)
  local ok, header = pcall(unpack_value, document)
  if not ok or type(header) ~= 'table' or type(header.version) ~= 'number' or type(header[kind == 'pool' and POOL_END or ACCOUNT_END]) ~= 'table' then
    return nil, 'unreadable'
  end
  if header.readable_from > VERSION then return nil, 'version' end
  if header.version < VERSION then bring_up(kind, header) end
  header.version = VERSION
  return header
end

-- Loads the account's pool. Returns why not: "pool" (the caller has named another, or it is gone).
local function load_pool(w, named)
  local account = w.account
  w.pool = false
  if account.pool == '' then return named ~= '' and 'pool' or nil end
  if account.pool ~= named then return 'pool' end
  local document = redis.call('GET', w.keys.pool)
  if not document then return 'pool' end
  local row, why = unpacked('pool', document)
  if not row then return why end
  w.pool, w.pool_changed = row, false
end

-- Journal an event: {k = kind, t = time, a = account, …}. Sequence numbers are without gaps, as they are counted in the same step.
local function journal(w, event)
  event.t, event.a = w.now, w.id
  w.events[#w.events + 1] = event
end

local function journal_all(w)
  for n = 1, #w.events do
    local sequence = redis.call('INCR', w.keys.sequence)
    redis.call('XADD', w.keys.outbox, string.format('%.0f-0', sequence), 'e', pack(w.events[n]))
  end
  return #w.events > 0
end

-- What of an account's id stays when it moves to another partition.
local function uid_of(id) return string.match(id, '-(.*)$') end

local function state_at(account, now)
  if account.state == 'a' and now >= account.active_until then return 'i' end
  return account.state
end

-- "{tag}:" of this partition's keys, for indexes beside the keys that are declared.
local function key_prefix(w) return string.match(w.keys.account, '^{[^}]*}:') end

-- What is kept beside an answer, to tell a repetition from a request that only has the same numbers.
local function mark_of(w)
  local request = w.request
  return request.content .. ' ' .. string.format('%.0f %.0f', request.end_to_end, w.now)
end

local function read_mark(mark)
  local content, end_to_end, at = string.match(mark, '^(%S*) (%d+) (%d+)$')
  return content, tonumber(end_to_end), tonumber(at)
end
