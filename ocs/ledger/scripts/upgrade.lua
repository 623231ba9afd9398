-- Write an account's document, and its pool's, in this layout if they are of an older one. Everything in them stays as it is.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: now, month, day, max_skew_s, pool
-- Result  "ok" (it was older), "again" (it is of this layout), "unknown", "pool …", "unreadable", "version"

local q = unpack_value(ARGV[2])
local w = {id = ARGV[1], now = q.now, month = q.month, day = q.day, events = {}, keys = named_keys(KEYS)}

local function version_of(key)
  local document = redis.call('GET', key)
  local ok, header = pcall(unpack_value, document or '')
  return ok and type(header) == 'table' and header.version or VERSION
end

local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local account, why = unpacked('account', document)
if not account then return why end
w.account = account
why = load_pool(w, q.pool)
if why then return why == 'pool' and 'pool ' .. account.pool or why end
local older = version_of(KEYS[1]) < VERSION
w.pool_changed = w.pool and version_of(KEYS[6]) < VERSION
if not older and not w.pool_changed then return 'again' end
save(w)
return 'ok'
