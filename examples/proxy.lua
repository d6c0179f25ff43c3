-- A TCP proxy: what arrives at one address goes to another, and back.
--
--   corella run examples/proxy.lua LISTEN TARGET [IDLE_SECONDS]
--   corella run examples/proxy.lua 127.0.0.1:8080 127.0.0.1:80 60
--
-- A side that ends its stream still gets what the other has to say. A connection on which nothing moves in either
-- direction for IDLE_SECONDS (60 unless given) is closed.

local CONNECT_SECONDS = 10
local BLOCK_BYTES = 64 * 1024

local listen_text, target_text, idle_text = ...
local idle_seconds = tonumber(idle_text or 60)

local function address(text)
  local host, port = (text or ""):match("^(.+):(%d+)$")
  return host, tonumber(port)
end

local listen_host, listen_port = address(listen_text)
local target_host, target_port = address(target_text)
if not listen_host or not target_host or not idle_seconds then
  stderr:print("usage: corella run proxy.lua HOST:PORT HOST:PORT [IDLE_SECONDS]\n")
  os.exit(2)
end

local function log(...)
  print(...)
  stdout:flush()
end

-- Moves bytes until the sender ends, and then ends the receiver's stream. `activity` is of both directions.
local function pump(from, to, activity)
  while true do
    local ok, data = pcall(from.recv, from, BLOCK_BYTES, { deadline = idle_seconds })
    if ok then
      if data == "" then
        return to:shutdown("write")
      end
      activity.last = Scheduler.now()
      to:send(data, { deadline = idle_seconds })
      activity.moved = activity.moved + #data
      activity.last = Scheduler.now()
    elseif data.kind ~= "TimedOut" or Scheduler.now() - activity.last >= idle_seconds then
      error(data, 0)
    end
  end
end

local function serve(client)
  local client <close> = client
  local server <close> = Socket.connect(target_host, target_port, { deadline = CONNECT_SECONDS })
  local activity = { last = Scheduler.now(), moved = 0 }
  local upward = Scheduler.spawn(pump, client, server, activity)
  local downward = Scheduler.spawn(pump, server, client, activity)
  -- If one direction fails, the other has nobody to talk to.
  for _, direction in ipairs({ upward, downward }) do
    local ok, problem = pcall(direction.join, direction)
    if not ok then
      upward:kill()
      downward:kill()
      error(problem, 0)
    end
  end
  return activity.moved
end

local listener <close> = Socket.listen(listen_host, listen_port)
local host, port = listener:local_address()
log(("proxy from %s:%d to %s"):format(host, port, target_text))
listener:accept(function(accepted)
  -- Without a descriptor for it the next one is tried again by itself.
  if not accepted:get_bool() then
    return
  end
  local client = accepted:result()
  local peer = ("%s:%d"):format(client:remote_address())
  local ok, result = pcall(serve, client)
  log(ok and ("%s: %d bytes"):format(peer, result) or ("%s: %s"):format(peer, tostring(result)))
end)
Scheduler.run()
