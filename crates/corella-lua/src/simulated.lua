-- What a script on a simulated machine sees of the world, where stock Lua would look at the real one: the time, random
-- numbers, and the order of tables, which in stock Lua depends on a seed made of the time and of addresses.
local random, now, epoch = ...

local rawnext, type, format, sort = next, type, string.format, table.sort
local getmetatable, setmetatable, select = getmetatable, setmetatable, select
local date = os.date
local rawget, floor = rawget, math.floor

-- Random numbers.

local seed = math.randomseed
seed(random())
function math.randomseed(...)
  if select("#", ...) == 0 then
    return seed(random())
  end
  return seed(...)
end

-- Time.

local time = os.time
function os.time(parts)
  if parts ~= nil then
    return time(parts)
  end
  return epoch + floor(now())
end

function os.date(pattern, moment)
  return date(pattern or "%c", moment or os.time())
end

os.clock = now

-- A sort whose comparisons are always the same. Stock Lua's looks at the clock for its pivots.

local function merge_sort(list, from, to, before, room)
  if to - from < 1 then
    return
  end
  local middle = (from + to) // 2
  merge_sort(list, from, middle, before, room)
  merge_sort(list, middle + 1, to, before, room)
  for place = from, middle do
    room[place] = list[place]
  end
  local left, right, place = from, middle + 1, from
  while left <= middle do
    if right <= to and before(list[right], room[left]) then
      list[place] = list[right]
      right = right + 1
    else
      list[place] = room[left]
      left = left + 1
    end
    place = place + 1
  end
end

local function is_less(one, other)
  return one < other
end

function table.sort(list, before)
  if type(list) ~= "table" or (before ~= nil and type(before) ~= "function") then
    return sort(list, before)
  end
  merge_sort(list, 1, #list, before or is_less, {})
end

-- The order of a table's keys.

local RANKS = { boolean = 1, number = 2, string = 3 }

local function comes_before(one, other)
  local first, second = type(one), type(other)
  local rank, other_rank = RANKS[first] or 4, RANKS[second] or 4
  if rank ~= other_rank then
    return rank < other_rank
  end
  if rank == 1 then
    return not one and other
  end
  if rank == 4 then
    return format("%p", one) < format("%p", other)
  end
  return one < other
end

-- The keys of the tables that are being gone through, in order, and the place of each.
local walks = setmetatable({}, { __mode = "k" })

local function begin_walk(list)
  local keys, count = {}, 0
  for key in rawnext, list do
    count = count + 1
    keys[count] = key
  end
  merge_sort(keys, 1, count, comes_before, {})
  local places = {}
  for place = 1, count do
    places[keys[place]] = place
  end
  local walk = { keys = keys, places = places }
  walks[list] = walk
  return walk
end

function next(list, key)
  if type(list) ~= "table" then
    return rawnext(list, key)
  end
  local walk, place
  if key == nil then
    walk, place = begin_walk(list), 0
  else
    walk = walks[list]
    place = walk and walk.places[key]
    if not place then
      -- It was taken out, and another walk has begun since: on with what comes behind it.
      walk, place = begin_walk(list), 0
      local keys = walk.keys
      while keys[place + 1] ~= nil and not comes_before(key, keys[place + 1]) do
        place = place + 1
      end
    end
  end
  local keys = walk.keys
  while true do
    place = place + 1
    local following = keys[place]
    if following == nil then
      return nil
    end
    -- Those that were taken out meanwhile are passed over.
    local value = rawget(list, following)
    if value ~= nil then
      return following, value
    end
  end
end

local stock_pairs = pairs
function pairs(list)
  local metatable = getmetatable(list)
  if type(list) ~= "table" or (type(metatable) == "table" and metatable.__pairs ~= nil) then
    return stock_pairs(list)
  end
  return next, list, nil
end
