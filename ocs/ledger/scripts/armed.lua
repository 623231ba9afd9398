-- Products that begin with their first use (HOT-PKG-13).

-- Units of a bucket that nothing holds, as far as the account may use them.
local function unheld_units(source)
  local bucket = source.bucket
  if bucket.left < 0 then return source.most end
  return min(max(bucket.left - bucket.held, 0), source.most)
end

-- Whether running buckets of this id have less than is wanted of them.
local function runs_short(work, leg, id, wanted)
  local sources, free = usable_buckets(work, leg), 0
  for n = 1, #sources do
    local source = sources[n]
    local bucket = source.bucket
    if bucket.id == id then free = free + unheld_units(source) end
  end
  return free < wanted
end

-- Whether a leg needs units that the product has. `wanted`: billable units that services want of each bucket id.
local function is_needed(work, leg, terms, wanted)
  local rate, buckets = rate_of(leg), terms.buckets
  for n = 1, #buckets do
    local included = buckets[n]
    local id = included.id
    if string.find(rate.buckets, ',' .. id .. ',', 1, true) and runs_short(work, leg, id, wanted[id]) then return true end
  end
  return false
end

-- Start armed subscriptions whose buckets may pay for the service, if the credit covers them and nothing forbids them
-- (HOT-PKG-13); others stay armed. One of several of a product waits until those that run are not enough. `wanted`: as
-- in is_needed; added to.
local function start_armed(work, item, wanted)
  local request, account, service = work.request, work.account, item.service
  if account.armed == 0 then return end
  local legs, list, started = service.legs, {unpack(subscriptions_of(work))}, false
  for n = 1, #legs do
    local leg = legs[n]
    local rate = rate_of(leg)
    local units = billable(rate.price, item.want)
    for id in string.gmatch(rate.buckets, '[^,]+') do wanted[id] = (wanted[id] or 0) + units end
    for m = 1, #list do
      local subscription = list[m]
      if subscription.state == 'armed' and is_needed(work, leg, subscription.terms, wanted) then
        local in_force = terms_at(work, subscription.terms, work.now)
        if can_pay(work, subscription, in_force) and not forbids_period(work, subscription, in_force, work.now) then
          subscription.terms = in_force
          pay_fee(work, subscription, work.now)
          started = true
        end
      end
    end
  end
  if started then reclaim_excess(work, request.session_id) end
end
