-- TCP sockets.
local suite = require("suite")
local test, on_unix, fails = suite.test, suite.on_unix, suite.fails

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

test("what two tasks receive comes to each in its turn, a line that a third asked for too", function()
  local client, server = suite.connection()
  local got = {}
  local first = Scheduler.spawn(function() got[1] = server:recv(3) end)
  local second = Scheduler.spawn(function() got[2] = server:readline() end)
  local third = Scheduler.spawn(function() got[3] = server:recv(100) end)
  Scheduler.poll()
  client:send("onetwo\nthree")
  first:join()
  second:join()
  third:join()
  assert(table.concat(got, "|") == "one|two\n|three")
  client:close()
  server:close()
end)

test("a task that is killed while it receives takes nothing from the next", function()
  local client, server = suite.connection()
  for _ = 1, 20 do
    local task = Scheduler.spawn(function() server:recv(100) end)
    Scheduler.poll()
    client:send("kept")
    task:kill()
    assert(task:status() == "killed")
    local text = server:read(4)
    assert(text == "kept", text)
  end
  client:close()
  server:close()
end)

test("what a task was about to be given when it was killed is for the next", function()
  local client, server = suite.connection()
  local other_client, other_server = suite.connection()
  for round = 1, 50 do
    local killed
    -- Both are answered in one turn, mostly, and the first of them kills the second.
    local killer = Scheduler.spawn(function()
      server:recv(10)
      killed:kill()
    end)
    killed = Scheduler.spawn(function() other_server:recv(10) end)
    Scheduler.poll()
    client:send("x")
    other_client:send("kept")
    killer:join()
    if killed:status() == "killed" then
      local text = other_server:recv(10)
      assert(text == "kept", round .. ": " .. text)
    end
  end
  for _, socket in ipairs({ client, server, other_client, other_server }) do
    socket:close()
  end
end)

test("a receive and a send that fail raise an error with its place, operation and target", function()
  local client, server = suite.connection()
  local host, port = server:remote_address()
  local task = Scheduler.spawn(function()
    local _, problem = pcall(function()
      local bytes = server:recv(100)
      return bytes
    end)
    return problem
  end)
  Scheduler.poll()
  server:close()
  local problem = task:join()
  assert(problem.kind == "Cancelled" and problem.operation == "recv 100 bytes")
  assert(problem.target == host .. ":" .. port and problem.place:find("sockets.lua:%d+"), problem.place)
  local broken
  repeat
    local ok, found = pcall(function()
      client:send("nobody reads this")
    end)
    broken = not ok and found
  until broken
  assert(broken.operation:find("^send") and broken.place:find("sockets.lua:%d+"), broken.place)
  client:close()
end)

test("one who sends without end lets the others have their turns", function()
  local client, server = suite.connection()
  local turns, is_over = 0, false
  local counter = Scheduler.spawn(function()
    while not is_over do
      turns = turns + 1
      Scheduler.poll()
    end
  end)
  Scheduler.poll()
  local before = turns
  for _ = 1, 1000 do
    client:send("x")
  end
  assert(turns - before >= 5, turns)
  is_over = true
  counter:join()
  assert(#server:read(1000) == 1000)
  client:close()
  server:close()
end)

test("a generator may receive and send", function()
  local client, server = suite.connection()
  local words = coroutine.wrap(function()
    while true do
      local word = server:recv(100)
      if word == "" then
        return
      end
      assert(server:send("got " .. word) == 4 + #word)
      coroutine.yield(word)
    end
  end)
  local heard = {}
  local listener = Scheduler.spawn(function()
    for word in words do
      heard[#heard + 1] = word
    end
  end)
  for _, word in ipairs({ "one", "two", "three" }) do
    client:send(word)
    assert(client:recv(100) == "got " .. word)
  end
  client:close()
  listener:join()
  assert(table.concat(heard, " ") == "one two three")
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

test("poll says whether there is something to receive, and takes nothing", function()
  local client, server = suite.connection()
  assert(server:poll("read", 0) == false and server:poll("read", 0.01) == false)
  client:send("one\ntwo\n")
  assert(server:poll() == true and server:poll("read", 0) == true)
  assert(server:readline() == "one\n" and server:poll("read", 0), "what was read ahead counts")
  assert(server:readline() == "two\n" and not server:poll("read", 0))
  assert(client:poll("write", 0))
  client:close()
  assert(server:poll(), "the peer's end is something")
  assert(server:recv(1) == "")
  server:close()
  fails("the handle is closed", server.poll, server)
  fails('"read" or "write" is expected, got "both"', client.poll, client, "both")
end)

test("poll of a listener waits for somebody to come", function()
  local listener <close> = Socket.listen("127.0.0.1", 0)
  assert(not listener:poll("read", 0))
  local told
  listener:poll(function(status)
    told = status:result()
  end)
  local client <close> = Socket.connect(listener:local_address())
  assert(listener:poll())
  local accepted <close> = listener:accept()
  assert(told == true)
  fails("it is not connected", Socket.new().poll, Socket.new())
end)

on_unix("poll of a datagram socket waits for a datagram", function()
  local one, other = Socket.pair("datagram")
  assert(not one:poll("read", 0) and one:poll("write", 0))
  other:send("x")
  assert(one:poll() and one:recv(9) == "x")
end)
