-- The Lua side of the host: how a synchronous call suspends the task that makes it.
--
-- A task is a coroutine that the host resumes. A call that has to wait yields the private `marker` to the host, which
-- knows what was asked for last and resumes the task with what came of it; a wait for a Status yields that, too. When the
-- call was made inside a coroutine of the script's own, that coroutine yields the marker to whoever resumed it; the
-- functions of the `coroutine` table below recognise it, pass it on up to the task, and resume the inner coroutine when
-- they are resumed themselves. So the script's own yields and resumes never see it.
local raw, marker = ...

local error, find, pairs, select, setmetatable, tostring, type, xpcall =
  error, string.find, pairs, select, setmetatable, tostring, type, xpcall
local concat = table.concat
local is_yieldable, running, yield = coroutine.isyieldable, coroutine.running, coroutine.yield
local take, located = raw.take, raw.located

-- How many coroutines are being resumed from where Lua cannot yield: inside them nothing can wait, though they can
-- yield to whoever resumed them.
local barriers = 0

local function can_wait()
  return barriers == 0 and is_yieldable()
end

local function change_barriers(change)
  barriers = barriers + change
  raw.set_barriers(barriers)
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
  local others = select("#", ...)
  if others == 0 or others == 1 and ... == nil then
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

local listen, bind = Socket.listen, verb(raw.listen, 3)
function Socket.listen(first, ...)
  local is_address = raw.is_address(first)
  if type(first) == "userdata" and not is_address then
    return listen(first)
  elseif type(first) ~= "string" and not is_address then
    local got = first == nil and "nothing" or "a " .. type(first)
    error("bad argument #1 to 'listen' (host: a string is expected, got " .. got .. ")", 2)
  end
  local socket = Socket.new()
  bind(socket, first, ...)
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

-- The shortest way of calls that wait: what only the task knows takes a request of the engine's and none of the host's.
-- Objects know from their first on how they are closed, so this comes after.
local function sooner(name, submit)
  return raw.sooner(name, verb(submit, 3))
end

Socket.recv = sooner("recv", raw.verbs.Socket.recv)
Socket.send = sooner("send", raw.verbs.Socket.send)
Scheduler.sleep = sooner("sleep", raw.verbs.Scheduler.sleep)

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

function coroutine.isyieldable(thread)
  return is_yieldable(thread or running())
end

-- Only text: bytecode that is wrong would be the end of the process.
local raw_load = load
function load(chunk, name, mode, ...)
  if mode ~= nil and type(mode) == "string" and not find(mode, "t", 1, true) then
    return nil, "attempt to load a binary chunk; only text is loaded"
  end
  return raw_load(chunk, name, "t", ...)
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

-- What many scripts do without is compiled when it is first called: `owner[name]` is a function of a part, under `key` there.
-- Whatever the script has changed by then, a part sees what there was at the start.
local stock = {
  _G = _G, error = error, ipairs = ipairs, load = load, package = package, pcall = pcall, select = select,
  setmetatable = setmetatable, tostring = tostring, type = type,
  coroutine = { close = coroutine.close, create = coroutine.create, resume = coroutine.resume,
    running = running, status = coroutine.status, yield = yield },
  math = { tointeger = math.tointeger },
  string = { gmatch = string.gmatch, gsub = string.gsub, sub = string.sub },
  table = { concat = concat },
  FileHandle = FileHandle, Scheduler = Scheduler, fs = fs,
}
local parts = {}
local function later(part, owner, name, key)
  local function first(...)
    local functions = parts[part] or raw.load_part(part, stock)(raw)
    parts[part] = functions
    local call = functions[key or name]
    if owner[name] == first then
      owner[name] = call
    end
    return call(...)
  end
  owner[name] = first
end

raw.can_wait, raw.change_barriers, raw.marker, raw.next_record, raw.readline =
  can_wait, change_barriers, marker, next_record, readline
later("iterators", FileHandle, "lines")
later("iterators", Socket, "lines", "lines_of_socket")
later("iterators", FileHandle, "blocks")
later("iterators", Socket, "blocks")
later("iterators", Channel, "values")
later("iterators", Directory, "entries")
for _, name in pairs({ "close", "resume", "status", "wrap" }) do
  later("coroutines", coroutine, name)
end
for _, name in pairs({ "dofile", "loadfile", "require" }) do
  later("modules", _G, name)
end
later("modules", package, "searchpath")
package.path, package.cpath, package.loadlib, package.searchers = raw.path, "", nil, {}
later("modules", package.searchers, 1)
later("modules", package.searchers, 2)
