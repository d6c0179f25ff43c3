-- The Lua side of the host: how a synchronous call suspends the task that makes it.
--
-- A task is a coroutine that the host resumes. A call that has to wait yields the private `marker` to the host, which
-- knows what was asked for last and resumes the task with what came of it; a wait for a Status yields that, too. When the
-- call was made inside a coroutine of the script's own, that coroutine yields the marker to whoever resumed it; the
-- functions of the `coroutine` table below recognise it, pass it on up to the task, and resume the inner coroutine when
-- they are resumed themselves. So the script's own yields and resumes never see it.
local raw, marker = ...

local error, pairs, select, setmetatable, tostring, type, xpcall =
  error, pairs, select, setmetatable, tostring, type, xpcall
local concat, sub, tointeger = table.concat, string.sub, math.tointeger
local create, is_yieldable, raw_close, raw_resume, raw_status, running, yield =
  coroutine.create, coroutine.isyieldable, coroutine.close, coroutine.resume, coroutine.status, coroutine.running,
  coroutine.yield
local take, located = raw.take, raw.located

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
  error(located((...)), 0)
end

-- What the host resumes a task with that waited.
local function given(ok, ...)
  if ok then
    return ...
  end
  error(located((...)), 0)
end

-- What came of the beginning of an operation: it is done, or the task has to wait for it. What is wrong with the call is told
-- of who made it, `level` functions up.
local function begun(level, ok, ...)
  if ok then
    return ...
  elseif ok == false then
    error(located((...)), 0)
  end
  local problem = ...
  if problem then
    error(problem, level)
  end
  return given(yield(marker))
end

-- An operation in its three forms.
local function verb(submit, level)
  level = level or 2
  return function(...)
    return begun(level, submit(barriers == 0 and is_yieldable(), ...))
  end
end

-- Records on loan: what the buffer of a handle has is taken for many calls at once. Whoever asks the handle for anything
-- else gives back first what has not been read. A loan is a list: the place in it of the next record, and from the second
-- place on the records; with how many bytes it may have, and whether the records are without their ends.
local lent = setmetatable({}, { __mode = "k" })
local loan_min <const>, loan_max <const> = 256, 65536
local raw_lend, raw_give_back = raw.lend, raw.give_back

local function give_back(handle)
  local loan = lent[handle]
  lent[handle] = nil
  raw_give_back(handle, loan[1] - 2)
  -- Nothing is left for whoever still has it.
  loan[1] = 0
end

local function lending(call)
  return function(handle, ...)
    if lent[handle] then
      give_back(handle)
    end
    return call(handle, ...)
  end
end

-- The next record and the loan that it is of, if there is nothing to wait for. Whoever reads on gets more at once.
local function next_record(handle, is_cut)
  local loan = lent[handle]
  local limit = loan_min
  if loan then
    local place = loan[1]
    local record = loan.is_cut == is_cut and loan[place]
    if record then
      loan[1] = place + 1
      return record, loan
    end
    limit = loan.limit < loan_max and 2 * loan.limit or loan_max
    give_back(handle)
  end
  loan = raw_lend(handle, limit, is_cut)
  if loan then
    loan[1], loan.limit, loan.is_cut = 3, limit, is_cut
    lent[handle] = loan
    return loan[2], loan
  end
end

local function checked(problem, ...)
  if problem ~= false then
    error(located(problem), 2)
  end
  return ...
end

-- A call that finishes at once.
local function direct(call)
  return function(...)
    return checked(call(...))
  end
end

local function class(name, is_lending)
  local methods = raw.classes[name]
  for method, call in pairs(raw.direct[name] or {}) do
    methods[method] = is_lending and lending(direct(call)) or direct(call)
  end
  for method, submit in pairs(raw.verbs[name] or {}) do
    methods[method] = is_lending and lending(verb(submit)) or verb(submit)
  end
  return methods
end

FileHandle, Socket, Status, Scheduler, fs =
  class("FileHandle", true), class("Socket"), class("Status"), class("Scheduler"), class("fs")
local Task, Channel, Directory = class("Task"), class("Channel"), class("Directory")
Task.join, Task.kill = Scheduler.join, Scheduler.kill
Directory.close = Directory.closedir

-- What a channel gives until it is closed.
function Channel.values(channel)
  return function()
    return channel:receive()
  end
end

-- What is left of a directory.
function Directory.entries(directory)
  return function()
    return directory:readdir()
  end
end

-- The shortest ways: what is in the buffers already takes no request.
local readline, read, write = FileHandle.readline, FileHandle.read, FileHandle.print
local read_now, write_now = raw.read_now, raw.write_now

function FileHandle.read(handle, length, options, callback)
  if lent[handle] then
    give_back(handle)
  end
  if not (options or callback) then
    local bytes = read_now(handle, length)
    if bytes then
      return bytes
    end
  end
  return read(handle, length, options, callback)
end

function FileHandle.print(handle, text, ...)
  if lent[handle] then
    give_back(handle)
  end
  if ... == nil then
    local count = write_now(handle, text)
    if count then
      return count
    end
  end
  return write(handle, text, ...)
end

function FileHandle.readline(handle, separator, options, callback)
  if not (separator or options or callback) then
    local line = next_record(handle, false)
    if line then
      return line
    end
  end
  return readline(handle, separator, options, callback)
end

-- A program may be given handles, which then are where the script is.
local open = FileHandle.open
function FileHandle.open(first, second, ...)
  local command = type(first) == "table" and first or second
  if type(command) == "table" then
    for _, handle in pairs(command) do
      if lent[handle] then
        give_back(handle)
      end
    end
  end
  return open(first, second, ...)
end

-- A record without its end.
local function cut_off(line, ending)
  if line == "" then
    return nil
  end
  return sub(line, -#ending) == ending and sub(line, 1, -1 - #ending) or line
end

-- Records without their ends, as `io.lines` gives lines.
function FileHandle.lines(handle, separator)
  local ending = separator or handle:record_separator()
  if separator then
    return function()
      return cut_off(readline(handle, separator), ending)
    end
  end
  local loan = { 0 }
  return function()
    local place = loan[1]
    local line = loan[place]
    if line then
      loan[1] = place + 1
      return line
    end
    line, loan = next_record(handle, true)
    if line then
      return line
    end
    loan = { 0 }
    return cut_off(readline(handle), ending)
  end
end

function Socket.lines(socket, separator)
  return function()
    return cut_off(socket:readline(separator), separator or "\n")
  end
end

-- What is left in pieces of so many characters; the last may have fewer.
function FileHandle.blocks(handle, length)
  local count = tointeger(length)
  if not count or count < 1 then
    error("bad argument #1 to 'blocks' (length: a positive integer is expected)", 2)
  end
  return function()
    local block = handle:read(count)
    return block ~= "" and block or nil
  end
end

Socket.blocks = FileHandle.blocks

-- The shortest way of calls that wait: what only the task knows takes a request of the engine's and none of the host's.
local function sooner(now, submit, own)
  return raw.sooner(now, verb(submit, 3), own)
end

Socket.recv = sooner(raw.receive_now, raw.verbs.Socket.recv, 2)
Socket.send = sooner(raw.send_now, raw.verbs.Socket.send, 2)
Scheduler.sleep = sooner(raw.sleep_now, raw.verbs.Scheduler.sleep, 1)

local listen = Socket.listen
function Socket.listen(first, ...)
  local is_address = raw.is_address(first)
  if type(first) == "userdata" and not is_address then
    return listen(first)
  elseif type(first) ~= "string" and not is_address then
    local got = first == nil and "nothing" or "a " .. type(first)
    error("bad argument #1 to 'listen' (host: a string is expected, got " .. got .. ")", 2)
  end
  local socket = Socket.new()
  socket:bind(first, ...)
  return listen(socket)
end

-- A callback gets a Status, and who takes it for the connection or handle that came of it is told so.
setmetatable(Status, {
  __index = function(_, name)
    if Socket[name] or FileHandle[name] or Directory[name] then
      error("a Status has no '" .. name .. "'; what came of it is status:result()", 2)
    end
  end,
})

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
  yield(marker, true)
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

raw.define_body(xpcall, caught)

-- A line that was entered at a prompt: what it gives is shown, once it is there.
local function show(count, ...)
  if count > 0 then
    _G._ = (...)
    print(...)
  end
end

raw.define_evaluate(function(call)
  local function given(...)
    if select("#", ...) == 1 and raw.is_status_that_ends(...) then
      return given((...):wait())
    end
    show(select("#", ...), ...)
  end
  given(call())
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
local function pass_down(thread, ...)
  waiting[thread] = nil
  return raw_resume(thread, ...)
end

local function pass(thread, ok, first, ...)
  if ok and first == marker then
    waiting[thread] = true
    return pass(thread, pass_down(thread, yield(first, ...)))
  end
  return ok, first, ...
end

local function set_barriers(count)
  barriers = count
  raw.set_barriers(count)
end

local function leave(...)
  set_barriers(barriers - 1)
  return ...
end

local function resume(thread, ...)
  if waiting[thread] then
    return false, "cannot resume non-suspended coroutine"
  elseif can_wait() then
    return pass(thread, raw_resume(thread, ...))
  end
  set_barriers(barriers + 1)
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
  -- Inside, Lua itself says that nothing can wait.
  return raw_close(thread)
end

function coroutine.isyieldable(thread)
  return is_yieldable(thread or running())
end

-- What blocks the whole program is not offered; what a script may need of it has its place above.
io, os.execute, os.remove, os.rename = nil, nil, nil, nil
package.loaded.io = nil
debug = {
  traceback = function(value, level)
    return raw.plain_traceback(value, level)
  end,
}
package.loaded.debug = debug

raw.can_wait = can_wait
