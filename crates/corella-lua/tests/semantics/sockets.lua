-- TCP sockets.
local suite = require("suite")
local test, fails = suite.test, suite.fails

test("send returns the bytes sent", function()
  local client, server = suite.connection()
  assert(client:send("hello") == 5 and client:send("") == 0)
  assert(server:read(5) == "hello")
  client:close()
  server:close()
end)

test("a socket that the peer closed reads as an empty string", function()
  local client, server = suite.connection()
  client:send("last")
  client:close()
  assert(server:recv(100) == "last" and server:recv(100) == "" and server:readline() == "" and server:read(1) == "")
  server:close()
end)

test("accept with a callback calls it for every connection until the socket is closed", function()
  local listener = Socket.listen("127.0.0.1", 0)
  local names = {}
  local whole = listener:accept(function(accepted)
    local connection <close> = accepted:result()
    names[#names + 1] = connection:readline()
  end)
  local host, port = listener:local_address()
  for number = 1, 10 do
    local client <close> = Socket.connect(host, port)
    client:send("client " .. number .. "\n")
    client:shutdown("write")
    assert(client:recv(1) == "")
  end
  assert(#names == 10 and whole:get_integer() == 0)
  listener:close()
  whole:wait()
  fails("Connection refused", Socket.connect, host, port)
end)

test("a connection may end in one direction and go on in the other", function()
  local client, server = suite.connection()
  client:send("question")
  client:shutdown("write")
  assert(server:read(100) == "question")
  server:send("answer")
  server:close()
  assert(client:read(100) == "answer")
  client:close()
end)

test("lines come from a socket as from a file", function()
  local client, server = suite.connection()
  client:send("one\r\ntw")
  client:send("o\r\nlast")
  client:shutdown("write")
  assert(server:readline("\r\n") == "one\r\n")
  local lines = {}
  for line in server:lines("\r\n") do
    lines[#lines + 1] = line
  end
  assert(table.concat(lines, "|") == "two|last")
  client:close()
  server:close()
end)

test("sends that were asked for at once arrive in their order", function()
  local client, server = suite.connection()
  for number = 1, 1000 do
    client:send(number .. "\n", { async = true })
  end
  for number = 1, 1000 do
    assert(server:readline() == number .. "\n")
  end
  client:close()
  server:close()
end)

test("a deadline ends a wait, and nothing that arrives later is lost", function()
  local client, server = suite.connection()
  assert(fails("deadline passed", server.recv, server, 10, { deadline = 0.01 }).kind == "TimedOut")
  client:send("late")
  assert(server:recv(10) == "late")
  client:close()
  server:close()
end)

test("addresses say who is who", function()
  local client, server = suite.connection()
  local host, port = client:local_address()
  local peer_host, peer_port = server:remote_address()
  assert(host == "127.0.0.1" and host == peer_host and port == peer_port)
  client:close()
  server:close()
  assert(client:is_closed())
  fails("the handle is closed", client.send, client, "x")
end)
