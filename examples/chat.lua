-- A chat server for many clients: one task reads each, and one writes to it.
--
--   corella run examples/chat.lua [PORT] [HOST]
--   nc 127.0.0.1 4321
--
-- The first line that a client sends is its name; what it sends then goes to all others. /who lists who is there, /quit
-- ends. A client that does not read holds nobody up: when too much waits for it, it is let go.

local LINES_WAITING_MAX = 256
local NAME_PATTERN = "^[%w_-]+$"
local NAME_BYTES_MAX, LINE_BYTES_MAX = 20, 4096
local NAME_SECONDS, SEND_SECONDS = 60, 30

local port, host = ...
port = tonumber(port or 4321)
if not port then
  stderr:print("usage: corella run chat.lua [PORT] [HOST]\n")
  os.exit(2)
end

-- Who is there: by name, the lines that are on their way to each, and its socket.
local clients = {}

local function say(client, text)
  if client.waiting >= LINES_WAITING_MAX then
    -- It reads too slowly; its own task sees the end.
    client.socket:close({ async = true }):on_error(function() end)
    return
  end
  client.waiting = client.waiting + 1
  client.lines:send(text .. "\r\n", { async = true }):on_error(function() end)
end

local function say_to_all(text, except)
  for _, client in pairs(clients) do
    if client ~= except then
      say(client, text)
    end
  end
end

local function write_lines(client)
  for line in client.lines:values() do
    client.socket:send(line, { deadline = SEND_SECONDS })
    client.waiting = client.waiting - 1
  end
end

local function names()
  local all = {}
  for name in pairs(clients) do
    all[#all + 1] = name
  end
  table.sort(all)
  return table.concat(all, ", ")
end

-- A line of a client, without its end; nothing when it has left, or sends what is no line.
local function line_of(socket, seconds)
  local line = socket:readline("\n", { limit = LINE_BYTES_MAX, deadline = seconds })
  if line:sub(-1) ~= "\n" then
    return nil
  end
  return (line:gsub("\r?\n$", ""):gsub("%c", " "))
end

local function ask_name(socket)
  while true do
    socket:send("Your name? ", { deadline = SEND_SECONDS })
    local name = line_of(socket, NAME_SECONDS)
    if not name then
      return nil
    elseif #name > NAME_BYTES_MAX or not name:find(NAME_PATTERN) then
      socket:send("Letters and digits, 20 at most.\r\n", { deadline = SEND_SECONDS })
    elseif clients[name] then
      socket:send("There is a " .. name .. " already.\r\n", { deadline = SEND_SECONDS })
    else
      return name
    end
  end
end

local function listen_to(client)
  while true do
    local line = line_of(client.socket)
    if not line or line == "/quit" then
      return
    elseif line == "/who" then
      say(client, "* here: " .. names())
    elseif line ~= "" then
      say_to_all(client.name .. ": " .. line, client)
    end
  end
end

local function serve(socket)
  local socket <close> = socket
  local name = ask_name(socket)
  if not name then
    return
  end
  local client = { name = name, socket = socket, lines = Scheduler.channel(LINES_WAITING_MAX), waiting = 0 }
  say_to_all("* " .. name .. " has come")
  clients[name] = client
  say(client, "* welcome, " .. name .. "; here: " .. names())
  local writer = Scheduler.spawn(write_lines, client)
  -- A client may leave in many ways, and each is the end of a conversation and no error of the server's.
  pcall(listen_to, client)
  clients[name] = nil
  client.lines:close()
  pcall(writer.join, writer)
  say_to_all("* " .. name .. " has left")
end

local listener <close> = Socket.listen(host or "127.0.0.1", port)
local address, actual_port = listener:local_address()
print(("chat on %s:%d"):format(address, actual_port))
stdout:flush()
listener:accept(function(accepted)
  if accepted:get_bool() then
    pcall(serve, accepted:result())
  end
end)
Scheduler.run()
