-- The Lua side of the host: how a synchronous call suspends the task that makes it.
--
-- A task is a coroutine that the host resumes. A call that has to wait yields the private `marker` and its Status to
-- the host, which resumes the task when the Status has settled. When the call was made inside a coroutine of the
-- script's own, that coroutine yields the marker to whoever resumed it; the functions of the `coroutine` table below
-- recognise it, pass it on up to the task, and resume the inner coroutine when they are resumed themselves. So the
-- script's own yields and resumes never see it.
local raw, marker = ...

local error, pairs, rawequal, select, tostring, type, xpcall = error, pairs, rawequal, select, tostring, type, xpcall
local concat, setmetatable = table.concat, setmetatable
local create, is_yieldable, raw_close, raw_resume, raw_status, running, yield =
  coroutine.create, coroutine.isyieldable, coroutine.close, coroutine.resume, coroutine.status, coroutine.running,
  coroutine.yield
local take = raw.take

-- How many coroutines are being resumed from where Lua cannot yield: inside them nothing can wait, though they can
-- yield to whoever resumed them.
local barriers = 0

-- Coroutines of the script's that wait inside a task. To others they are as good as running.
local waiting = setmetatable({}, { __mode = "k" })

local function can_wait()
  return barriers == 0 and is_yieldable()
end

-- Waiting.

local function settle(status, ok, ...)
  if ok then
    return ...
  elseif ok == nil then
    yield(marker, status)
    return settle(status, take(status))
  end
  error((...), 0)
end

-- An operation in its three forms.
local function verb(submit)
  return function(...)
    local status, detail = submit(barriers == 0 and is_yieldable(), ...)
    if not status then
      error(detail, 2)
    elseif detail then
      return status
    end
    return settle(status, take(status))
  end
end

local function checked(problem, ...)
  if problem ~= false then
    error(problem, 2)
  end
  return ...
end

-- A call that finishes at once.
local function direct(call)
  return function(...)
    return checked(call(...))
  end
end

local function class(name)
  local methods = raw.classes[name]
  for method, call in pairs(raw.direct[name] or {}) do
    methods[method] = direct(call)
  end
  for method, submit in pairs(raw.verbs[name] or {}) do
    methods[method] = verb(submit)
  end
  return methods
end

FileHandle, Socket, Status, Scheduler, fs =
  class("FileHandle"), class("Socket"), class("Status"), class("Scheduler"), class("fs")
local Task = class("Task")
Task.join, Task.kill = Scheduler.join, Scheduler.kill

-- Lines without their ends, as `io.lines` gives them.
function FileHandle.lines(handle)
  return function()
    local line = handle:readline()
    if line == "" then
      return nil
    end
    return line:sub(-1) == "\n" and line:sub(1, -2) or line
  end
end

Socket.lines = FileHandle.lines

local listen = Socket.listen
function Socket.listen(first, ...)
  if type(first) == "userdata" then
    return listen(first)
  elseif type(first) ~= "string" then
    local got = first == nil and "nothing" or "a " .. type(first)
    error("bad argument #1 to 'listen' (host: a string is expected, got " .. got .. ")", 2)
  end
  local socket = Socket.new()
  socket:bind(first, ...)
  return listen(socket)
end

local check_status = raw.direct.Status.wait
function Status.wait(status)
  local problem = check_status(status) or not can_wait() and raw.cannot_wait("wait")
  if problem then
    error(problem, 2)
  end
  return settle(status, take(status))
end

-- Everything else that is ready has a turn; says whether there is more to do.
function Scheduler.poll()
  if not can_wait() then
    error(raw.cannot_wait("poll"), 2)
  end
  yield()
  return Scheduler.has_work()
end

-- The end of a scope: waits for the close where it can, and closes in the background where it cannot.
raw.define_close(function(handle)
  if handle:is_closed() then
    return
  elseif can_wait() then
    handle:close()
  else
    handle:close({ async = true })
  end
end)

function print(...)
  local count = select("#", ...)
  local line
  if count == 1 then
    line = tostring((...)) .. "\n"
  else
    local texts = { ... }
    for index = 1, count do
      texts[index] = tostring(texts[index])
    end
    line = concat(texts, "\t", 1, count) .. "\n"
  end
  if raw.print_now(line) then
    return
  elseif can_wait() then
    stdout:print(line)
  else
    raw.print_behind(line)
  end
end

-- Tasks.

local function caught(value)
  return { value = value, traceback = raw.traceback(value) }
end

-- What every task runs.
raw.define_body(function(call, ...)
  return xpcall(call, caught, ...)
end)

function os.exit(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  end
  raw.exit(code)
  if can_wait() then
    yield(marker)
  end
  error("os.exit: the program ends when this returns", 2)
end

-- Coroutines of the script's own.

-- Passes the marker up to the task and what comes back down, until the coroutine has something for its resumer.
local function pass(thread, ok, first, ...)
  if ok and rawequal(first, marker) then
    waiting[thread] = true
    yield(first, ...)
    waiting[thread] = nil
    return pass(thread, raw_resume(thread))
  end
  return ok, first, ...
end

local function leave(...)
  barriers = barriers - 1
  return ...
end

local function resume(thread, ...)
  if waiting[thread] then
    return false, "cannot resume non-suspended coroutine"
  elseif can_wait() then
    return pass(thread, raw_resume(thread, ...))
  end
  barriers = barriers + 1
  return leave(raw_resume(thread, ...))
end

function coroutine.resume(thread, ...)
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

function coroutine.wrap(call)
  if type(call) ~= "function" then
    error("bad argument #1 to 'wrap' (function expected)", 2)
  end
  local thread = create(call)
  return function(...)
    return unwrap(thread, resume(thread, ...))
  end
end

function coroutine.status(thread)
  if waiting[thread] then
    return "normal"
  end
  return raw_status(thread)
end

function coroutine.close(thread)
  if waiting[thread] then
    error("cannot close a normal coroutine", 2)
  elseif type(thread) ~= "thread" then
    error("bad argument #1 to 'close' (coroutine expected)", 2)
  end
  barriers = barriers + 1
  return leave(raw_close(thread))
end

function coroutine.isyieldable(thread)
  return is_yieldable(thread or running())
end

-- What blocks the whole program is not offered; what a script may need of it has its place above.
io, os.execute, os.remove, os.rename = nil, nil, nil, nil
debug = {
  traceback = function(value, level)
    return raw.plain_traceback(value, level)
  end,
}
