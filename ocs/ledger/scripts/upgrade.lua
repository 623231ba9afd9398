-- Write an account's document, and its pool's, in this layout if they are in an older one. The content stays.
--
-- KEYS  1 to 4 as charge.lua  5 any  6 pool
-- ARGV  1 account id  2 msgpack map: now, month, day, max_skew_s, pool
-- Result  "ok" (it was older), "again" (it has this layout), "unknown", "pool …", "unreadable", "version"

local args = unpack_value(ARGV[2])
local work = {account_id = ARGV[1], now = args.now, month = args.month, day = args.day, events = {},
  keys = named_keys(KEYS)}

local function version_of(key)
  local document = redis.call('GET', key)
  local ok, header = pcall(unpack_value, document or '')
  return ok and type(header) == 'table' and header.version or VERSION
end

local document = redis.call('GET', KEYS[1])
if not document then return 'unknown' end
local account, why = read_document('account', document)
if not account then return why end
work.account = account
why = load_pool(work, args.pool)
if why then return why == 'pool' and 'pool ' .. account.pool or why end
local older = version_of(KEYS[1]) < VERSION
work.pool_changed = work.pool and version_of(KEYS[6]) < VERSION
if not older and not work.pool_changed then return 'again' end
save(work)
return 'ok'
