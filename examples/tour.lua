-- A guided tour of Corella in Lua. What it says it has checked.
--
--   corella run examples/tour.lua

local backend, reason = Scheduler.backend()
print("Corella on the " .. backend .. " backend: " .. reason)

local path = os.tmpname()
local file <close> = FileHandle.open(path, "rw")

-- One verb, three forms.

print("\nThe three forms of a call")
file:write_at("Hello, world!", 0)
assert(file:read_at(5, 0) == "Hello")
print("  synchronous: read_at(5, 0) gave 'Hello', and only this task waited for it")

local called_with
local status = file:read_at(5, 7, function(finished)
  called_with = finished:result()
end)
assert(status:get_integer() >= 0 and called_with == nil, "a callback never runs inside the call")
status:wait()
Scheduler.poll()
assert(called_with == "world")
print("  callback: read_at(5, 7, f) returned at once, and called f with 'world' later")

status = file:read_at(1, 12, { async = true })
while status:get_integer() == 0 do
  Scheduler.poll()
end
assert(status:get_integer() == 1 and status:result() == "!")
print("  polled status: read_at(1, 12) was asked until it was done, and gave '!'")

-- Order on one handle.

print("\nOrder on one handle")
local writes = 500
for number = 1, writes do
  file:write_at(("%08d"):format(number):rep(64), 0, { async = true }):on_error(function(failed)
    failed:throw()
  end)
end
assert(file:read_at(512, 0) == ("%08d"):format(writes):rep(64), "the last write wins, whole")
print("  " .. writes .. " overlapping writes submitted at once: the last one won, as if they had run one by one")

-- A server in this same program: its callback is a task for each connection.
local listener <close> = Socket.listen("127.0.0.1", 0)
local host, port = listener:local_address()
listener:accept(function(accepted)
  if not accepted:get_bool() then
    return -- no descriptors are left just now; the next accept is tried again by itself
  end
  local connection <close> = accepted:result()
  repeat
    local data = connection:recv(4096)
    connection:send(data)
  until data == ""
end)

local sends = 1000
local stream = Socket.connect(host, port)
for number = 1, sends do
  stream:send(number .. "\n", { async = true })
end
for number = 1, sends do
  assert(stream:readline() == number .. "\n", "sends arrive in their order")
end
print("  " .. sends .. " sends submitted at once on one socket: all came back in order")

-- Stopping.

print("\nDeadlines and cancelling")
local began = Scheduler.now()
local ok, problem = pcall(stream.recv, stream, 1, { deadline = 0.02 })
local waited = Scheduler.now() - began
assert(not ok and problem.kind == "TimedOut" and waited >= 0.02 and waited < 1)
print(("  a recv with a deadline of 0.02 s ended after %.3f s: '%s'"):format(waited, problem))
stream:send("still here\n")
assert(stream:readline() == "still here\n", "a deadline takes nothing from the stream")

status = stream:recv(1, { async = true })
status:cancel()
ok, problem = pcall(status.wait, status)
assert(not ok and problem.kind == "Cancelled" and status:get_integer() == -1)
print("  a recv that was cancelled ended: '" .. problem .. "'")
stream:close()

-- Many at once.

print("\nA thousand connections")
began = Scheduler.now()
local clients, most, open = {}, 0, 0
for number = 1, 1000 do
  clients[number] = Scheduler.spawn(function()
    local socket <close> = Socket.connect(host, port)
    open = open + 1
    most = math.max(most, open)
    local message = "message " .. number
    socket:send(message)
    Scheduler.poll()
    assert(socket:read(#message) == message)
    open = open - 1
    return number
  end)
end
local sum = 0
for _, client in ipairs(clients) do
  sum = sum + client:join()
end
assert(sum == 1000 * 1001 / 2)
print(("  1000 tasks echoed over 1000 connections, up to %d open at once, in %.2f s"):format(most, Scheduler.now() - began))

-- The end. Not every system lets go of a name while its file is open.

file:close()
fs.unlink(path)
assert(not pcall(fs.stat, path))
print("\nAll of it was checked. The file " .. path .. " is gone again.")
