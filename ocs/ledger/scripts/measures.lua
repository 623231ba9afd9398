-- Measures on an account (bars, facts, muted notices; HOT-ROA-4, -5, -8), and its facts: words by which rates differ.

-- Measures of the account, unpacked at first use. `save` packs them again.
local function measures_of(work)
  if not work.measures then
    local account = work.account
    work.measures = account.measures == '' and {} or unpack_value(account.measures)
  end
  return work.measures
end

-- Whether a measure in force is of this kind and has one of these names.
local function has_measure(work, kind, name, other_name)
  local account = work.account
  if not work.measures and account.measures == '' then return false end
  local measures = measures_of(work)
  for n = 1, #measures do
    local measure = measures[n]
    if measure.begun == 1 and measure.kind == kind and (measure.name == name or measure.name == other_name) then
      return true
    end
  end
  return false
end

-- Put the facts together: of the running subscriptions, which are unpacked, and of measures in force.
local function derive_facts(work)
  local account, list, words = work.account, work.subscriptions, {}
  for n = 1, #list do
    local subscription = list[n]
    local terms = subscription.terms
    if #terms.facts > 0 and (subscription.state == 'active' or subscription.state == 'ending') then
      for m = 1, #terms.facts do words[terms.facts[m]] = true end
    end
  end
  local measures, sorted = measures_of(work), {}
  for n = 1, #measures do
    local measure = measures[n]
    if measure.begun == 1 and measure.kind == 'fact' then words[measure.name] = true end
  end
  for word in pairs(words) do sorted[#sorted + 1] = word end
  table.sort(sorted)
  account.facts = table.concat(sorted, ',')
end

local function journal_measure(work, measure, state)
  journal(work, {k = 'measure', measure = measure.kind, name = measure.name, state = state, reason = measure.reason,
    ['until'] = measure.until})
end

local function find_measure(work, kind, name)
  local measures = measures_of(work)
  for n = 1, #measures do
    local measure = measures[n]
    if measure.kind == kind and measure.name == name then return measure, n end
  end
end

-- Whether one of these bars (with commas) is set, by the subscriber or as a measure.
local function barred(work, bars)
  local account = work.account
  if bars == '' or (account.bars == '' and account.measures == '') then return false end
  local set = ',' .. account.bars .. ','
  for bar in string.gmatch(bars, '[^,]+') do
    if string.find(set, ',' .. bar .. ',', 1, true) or has_measure(work, 'bar', bar) then return true end
  end
  return false
end

-- Whether bars forbid all that a session has, and something at all. Nothing bars an emergency call (HOT-RAT-2).
local function is_barred(work, session)
  local found = false
  for _, service in pairs(session.services) do
    if service.always == 1 or not barred(work, service.bars) then return false end
    found = true
  end
  return found
end
