-- TCP echo on Corella, as its users write it: a task for each connection.
local left = tonumber(os.getenv("CONTENDER_CONNECTIONS")) or math.huge
local listener = Socket.listen("127.0.0.1", 0)
local _, port = listener:local_address()
print("port " .. port)
stdout:flush()
listener:accept(function(accepted)
  local client <close> = accepted:result()
  while true do
    local data = client:recv(65536)
    if data == "" then
      break
    end
    client:send(data)
  end
  left = left - 1
  if left == 0 then
    os.exit(0)
  end
end):wait()
