-- The account as one msgpack array of plain values (`load`, `save`): building nested tables is most of what a script costs, so
-- nothing is nested that need not be. A script loads it, validates, changes the tables, and saves once at the end.
--   m, i          MSISDN, IMSI                    st       state: "a" active, "b" blocked, "t" terminated
--   au            active until (HOT-ACC-4)        cr, hc   credit with what is held; held on credit
--   pi sp rf ex   paid in, spent (less what clients gave back), paid out again, expired (invariant 1: pi = cr + sp + rf + ex)
--   lim           spending limit or -1 (off)      mo ms nt calendar month, spent in it, last threshold notified (0, 80, 100)
--   br            bars, comma separated           pk pp pe package, 1 = could not be paid, end of its period (0 = none)
--   du            score of the account in the partition's due set (0 = not in it)
--   b             buckets: {id, unit, left or -1 (unlimited), held, expires}; left includes held. One that has expired lingers as long
--                 as a session holds units of it: use that was granted in the old period is paid by the old period
--   s             sessions by Session-Id: {o origin host, c context, t started, d deadline, n highest number, e when its answers are
--                 forgotten, rl origin realm, vi relay or '', bd who may go on with it, os Origin-State-Id,
--                 x taken from credit, z 1 = given up (holds nothing, kept for late use until d), ra last asked to return credit,
--                 w where and how (opaque), a {price id → {raw units used, units paid from credit}}, v services}
-- A session's service, by key: l label, p price terms, k bucket ids in order, each between commas, x detail for the record,
--   r {{bucket id, units held, expires}}, hm micro-EUR held, g raw units granted, f 0 normal, 1 final units granted, 2 restricted phase,
--   3 refused, u last report (of time: how far the time reported reaches), sw price switch or 0 (negative: the grant ends there),
--   d deadline of its grant or restricted phase, n highest number of an update with it, p2 price terms from the switch on (only with sw)
-- Price terms: {id, num, den, first, next, flat, rounding}; docs: ocs/rating/types.py PriceTerms.
-- All numbers are integers < 2^53; `fmod` is exact where `%` and `/` are not.

local pack, unpack_doc = cmsgpack.pack, cmsgpack.unpack

local function load_services(d, at, count)
  local services = {}
  for _ = 1, count do
    local v = {l = d[at + 2], p = {d[at + 3], d[at + 4], d[at + 5], d[at + 6], d[at + 7], d[at + 8], d[at + 9]},
      k = d[at + 10], x = d[at + 11], hm = d[at + 12], g = d[at + 13], f = d[at + 14], u = d[at + 15], sw = d[at + 16],
      d = d[at + 17], n = d[at + 18], r = {}}
    services[d[at + 1]] = v
    local held = d[at + 19]
    at = at + 19
    for n = 1, held do
      v.r[n] = {d[at + 1], d[at + 2], d[at + 3]}
      at = at + 3
    end
    if v.sw ~= 0 then
      v.p2 = {d[at + 1], d[at + 2], d[at + 3], d[at + 4], d[at + 5], d[at + 6], d[at + 7]}
      at = at + 7
    end
  end
  return services, at
end

local function load_session(d, at)
  local session = {o = d[at + 2], c = d[at + 3], t = d[at + 4], d = d[at + 5], n = d[at + 6], e = d[at + 7], rl = d[at + 8],
    vi = d[at + 9], bd = d[at + 10], os = d[at + 11], x = d[at + 12], z = d[at + 13], ra = d[at + 14], w = d[at + 15], a = {}}
  local services, tallies = d[at + 16], d[at + 17]
  at = at + 17
  for _ = 1, tallies do
    session.a[d[at + 1]] = {d[at + 2], d[at + 3]}
    at = at + 3
  end
  session.v, at = load_services(d, at, services)
  return session, at
end

local function load(document)
  local d = unpack_doc(document)
  local acc = {m = d[1], i = d[2], st = d[3], au = d[4], cr = d[5], hc = d[6], pi = d[7], sp = d[8], rf = d[9], ex = d[10],
    lim = d[11], mo = d[12], ms = d[13], nt = d[14], br = d[15], pk = d[16], pp = d[17], pe = d[18], du = d[19], b = {}, s = {}}
  local at = 21
  for n = 1, d[20] do
    acc.b[n] = {d[at], d[at + 1], d[at + 2], d[at + 3], d[at + 4]}
    at = at + 5
  end
  local sessions = d[at]
  for _ = 1, sessions do
    local sid = d[at + 1]
    acc.s[sid], at = load_session(d, at)
  end
  return acc
end

local function save_session(d, at, sid, session)
  d[at + 1], d[at + 2], d[at + 3], d[at + 4], d[at + 5], d[at + 6], d[at + 7] = sid, session.o, session.c, session.t, session.d, session.n,
    session.e
  d[at + 8], d[at + 9], d[at + 10], d[at + 11], d[at + 12], d[at + 13], d[at + 14], d[at + 15] = session.rl, session.vi, session.bd,
    session.os, session.x, session.z, session.ra, session.w
  d[at + 16], d[at + 17] = 0, 0
  local counts, services, tallies = at, 0, 0
  at = at + 17
  for id, tally in pairs(session.a) do
    tallies = tallies + 1
    d[at + 1], d[at + 2], d[at + 3] = id, tally[1], tally[2]
    at = at + 3
  end
  for key, v in pairs(session.v) do
    local p, held = v.p, v.r
    services = services + 1
    d[at + 1], d[at + 2] = key, v.l
    for n = 1, 7 do d[at + 2 + n] = p[n] end
    d[at + 10], d[at + 11], d[at + 12], d[at + 13], d[at + 14], d[at + 15], d[at + 16], d[at + 17], d[at + 18], d[at + 19] = v.k, v.x, v.hm,
      v.g, v.f, v.u, v.sw, v.d, v.n, #held
    at = at + 19
    for n = 1, #held do
      d[at + 1], d[at + 2], d[at + 3] = held[n][1], held[n][2], held[n][3]
      at = at + 3
    end
    if v.sw ~= 0 then
      for n = 1, 7 do d[at + n] = v.p2[n] end
      at = at + 7
    end
  end
  d[counts + 16], d[counts + 17] = services, tallies
  return at
end

local function save(acc)
  local d = {acc.m, acc.i, acc.st, acc.au, acc.cr, acc.hc, acc.pi, acc.sp, acc.rf, acc.ex, acc.lim, acc.mo, acc.ms, acc.nt, acc.br,
    acc.pk, acc.pp, acc.pe, acc.du, #acc.b}
  local at = 20
  for n = 1, #acc.b do
    local b = acc.b[n]
    d[at + 1], d[at + 2], d[at + 3], d[at + 4], d[at + 5] = b[1], b[2], b[3], b[4], b[5]
    at = at + 5
  end
  at = at + 1
  local counted, count = at, 0
  d[at] = 0
  for sid, session in pairs(acc.s) do
    count = count + 1
    at = save_session(d, at, sid, session)
  end
  d[counted] = count
  return pack(d)
end
