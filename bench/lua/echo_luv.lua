-- TCP echo on luv, as its users write it.
local uv = require("luv")

local left = tonumber(os.getenv("CONTENDER_CONNECTIONS")) or math.huge
local listener = uv.new_tcp()
assert(listener:bind("127.0.0.1", 0))
assert(listener:listen(1024, function(refused)
  assert(not refused, refused)
  local client = uv.new_tcp()
  listener:accept(client)
  client:nodelay(true)
  client:read_start(function(failure, data)
    if data then
      -- Most writes go out at once, and then need no request.
      local sent = client:try_write(data) or 0
      if sent < #data then
        client:write(data:sub(sent + 1))
      end
    else
      client:close()
      left = left - 1
      if left == 0 then
        os.exit(0)
      end
    end
  end)
end))
print("port " .. listener:getsockname().port)
io.stdout:flush()
uv.run()
