-- Coroutines of the script's own, in which calls may wait; prelude.lua says how.
local raw = ...

local error, setmetatable, type = error, setmetatable, type
local create, running, yield = coroutine.create, coroutine.running, coroutine.yield
local raw_close, raw_resume, raw_status = coroutine.close, coroutine.resume, coroutine.status
local can_wait, change_barriers, marker = raw.can_wait, raw.change_barriers, raw.marker
local coroutines = {}

-- Coroutines of the script's that wait inside a task. To others they are as good as running.
local waiting = setmetatable({}, { __mode = "k" })
-- By who resumed them.
local inner = setmetatable({}, { __mode = "k" })
-- Those that waited in what was closed. Who resumes one has it go on with that.
local left = setmetatable({}, { __mode = "k" })

-- Passes the marker up to the task and what comes back down, until the coroutine has something for its resumer.
local function pass_down(thread, outer, ...)
  waiting[thread], inner[outer] = nil, nil
  return raw_resume(thread, ...)
end

local function pass(thread, ok, first, ...)
  if ok and first == marker then
    local outer = running()
    waiting[thread], inner[outer] = true, thread
    return pass(thread, pass_down(thread, outer, yield(first, ...)))
  end
  return ok, first, ...
end

-- Closes a coroutine. What waited in it waits no longer, and is its script's to close or to resume.
local function close(outer)
  local thread = inner[outer]
  if thread then
    waiting[thread], inner[outer], left[thread] = nil, nil, true
  end
  left[outer] = nil
  -- Inside, Lua itself says that nothing can wait.
  return raw_close(outer)
end

raw.define_close_coroutine(close)

local function leave(...)
  change_barriers(-1)
  return ...
end

local function resume(thread, ...)
  if waiting[thread] then
    return false, "cannot resume non-suspended coroutine"
  elseif left[thread] then
    left[thread] = nil
    return resume(thread, false, "the task was killed in which this waited")
  elseif can_wait() then
    return pass(thread, raw_resume(thread, ...))
  end
  change_barriers(1)
  return leave(raw_resume(thread, ...))
end

function coroutines.resume(thread, ...)
  if type(thread) ~= "thread" then
    error("bad argument #1 to 'resume' (coroutine expected)", 2)
  end
  return resume(thread, ...)
end

local function unwrap(thread, ok, ...)
  if ok then
    return ...
  end
  local value = ...
  if raw_status(thread) == "dead" then
    local closed, problem = raw_close(thread)
    if not closed then
      value = problem
    end
  end
  error(value, 2)
end

function coroutines.wrap(call)
  if type(call) ~= "function" then
    error("bad argument #1 to 'wrap' (function expected)", 2)
  end
  local thread = create(call)
  return function(...)
    return unwrap(thread, resume(thread, ...))
  end
end

function coroutines.status(thread)
  if waiting[thread] then
    return "normal"
  end
  return raw_status(thread)
end

function coroutines.close(thread)
  if waiting[thread] then
    error("cannot close a normal coroutine", 2)
  elseif type(thread) ~= "thread" then
    error("bad argument #1 to 'close' (coroutine expected)", 2)
  end
  return close(thread)
end

return coroutines
