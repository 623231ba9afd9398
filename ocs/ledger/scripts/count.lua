-- Step 5: counters move by what was paid; thresholds that are passed become events. w.full: a limit has been reached.

local function count(w)
  local account = w.account
  for n = 1, #w.items do
    local item = w.items[n]
    local moved = item.moved
    for m = 1, #moved do
      local leg, money, credit_units, units = unpack(moved[m])
      local rate = rate_of(leg)
      local ids = rate.counters
      for k = 1, #ids do
        local counter = find_counter(account, ids[k])
        if counter then add_to(counter, moved_by(counter, money, credit_units, units), w.now) end
      end
    end
    item.moved = {}
  end
  if tell_thresholds(w) then w.full = true end
end
