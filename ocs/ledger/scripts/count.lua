-- Step 5: add what was paid to the counters, and journal the thresholds passed. Out: work.limit_reached.

local function count(work)
  for n = 1, #work.items do
    local item = work.items[n]
    local moves = item.counter_moves
    for m = 1, #moves do
      local leg, money, credit_units, units = unpack(moves[m])
      local counters = counters_of(work, rate_of(leg))
      for k = 1, #counters do
        local counter = counters[k]
        local amount = counter and counter_amount(counter, money, credit_units, units) or 0
        if amount ~= 0 then add_to_counter(counter, amount, work.now) end
      end
    end
    item.counter_moves = {}
  end
  work.volume_moved = nil
  if journal_thresholds(work) then work.limit_reached = true end
  if work.bucket_thresholds then journal_bucket_thresholds(work) end
end
