-- Everything is a task: the main program, what is spawned, and every callback.
local suite = require("suite")
local test, fails = suite.test, suite.fails

test("a synchronous call never stops anyone else", function()
  local ticks = 0
  local ticker = Scheduler.spawn(function()
    while true do
      Scheduler.sleep(0.001)
      ticks = ticks + 1
    end
  end)
  Scheduler.sleep(0.05)
  ticker:kill()
  assert(ticks > 5)
end)

test("callbacks are tasks too, and may wait", function()
  local log = {}
  Scheduler.sleep(0, function()
    Scheduler.sleep(0.002)
    log[#log + 1] = "slow " .. Scheduler.current():type()
  end)
  fs.stat("/", function()
    log[#log + 1] = "quick " .. Scheduler.current():type()
  end)
  Scheduler.run()
  assert(table.concat(log, ", ") == "quick io, slow event")
end)

test("a coroutine of the script's own may do I/O and goes on where it was", function()
  local file <close> = FileHandle.open(suite.file("abc"))
  local letters = coroutine.wrap(function()
    for place = 0, 2 do
      Scheduler.sleep(0.001)
      coroutine.yield(file:read_at(1, place))
    end
  end)
  assert(letters() .. letters() .. letters() == "abc")
end)

test("where Lua cannot yield a synchronous call is a named error", function()
  local function waits()
    Scheduler.sleep(0)
  end
  fails("cannot wait here: 'sleep' was called where Lua cannot suspend its caller", table.sort, { 2, 1 }, waits)
  local from_collector
  setmetatable({}, {
    __gc = function()
      from_collector = select(2, pcall(waits))
    end,
  })
  collectgarbage()
  assert(from_collector:find("cannot wait here"))
  -- With a callback it works.
  table.sort({ 2, 1 }, function(left, right)
    Scheduler.sleep(0, function() end)
    return left < right
  end)
end)

test("spawn, join and kill", function()
  local task = Scheduler.spawn(function(...)
    Scheduler.sleep(0.001)
    return select("#", ...), ...
  end, "a", nil, "c")
  local count, first, second, third = task:join()
  assert(count == 3 and first == "a" and second == nil and third == "c")
  local closed
  local endless = Scheduler.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() closed = true end })
    Scheduler.sleep(600)
  end)
  Scheduler.poll()
  endless:kill()
  Scheduler.poll()
  assert(closed and endless:status() == "killed")
  assert(fails("the task was killed", endless.join, endless).kind == "Killed")
end)

test("an error in a task is whose who joins it", function()
  local task = Scheduler.spawn(function()
    error({ code = 7 })
  end)
  local ok, problem = pcall(task.join, task)
  assert(not ok and problem.code == 7 and task:status() == "failed")
end)

test("timeout kills what takes too long", function()
  assert(fails("deadline passed", Scheduler.timeout, 0.005, Scheduler.sleep, 600).kind == "TimedOut")
  assert(Scheduler.timeout(60, function() return "in time" end) == "in time")
end)

test("the first wins a race, and the others are stopped", function()
  local slow = Scheduler.sleep(600, { async = true })
  local place, result = Scheduler.race({ slow, function() Scheduler.sleep(0.001) return "quick" end })
  assert(place == 2 and result == "quick" and slow:error().kind == "Cancelled")
end)

test("a channel hands values from task to task in order", function()
  local channel, received = Scheduler.channel(), {}
  local consumer = Scheduler.spawn(function()
    for value in channel:values() do
      received[#received + 1] = value
    end
  end)
  for number = 1, 5 do
    channel:send(number)
  end
  channel:close()
  consumer:join()
  assert(table.concat(received) == "12345" and channel:receive() == nil)
end)

test("poll gives the others a turn, run waits for them all", function()
  local log = {}
  local task = Scheduler.spawn(function() log[#log + 1] = "turn" end)
  Scheduler.poll()
  assert(log[1] == "turn" and task:status() == "done")
  Scheduler.sleep(0.005, function() log[#log + 1] = "later" end)
  Scheduler.run()
  assert(log[2] == "later" and not Scheduler.has_work() and Scheduler.active_tasks() == 1)
end)

test("what is outstanding is listed with operation, target and age", function()
  local client, server = suite.connection()
  local status = client:recv(100, { async = true })
  local listed = Scheduler.outstanding()
  assert(#listed == 1 and listed[1].operation:find("^recv") and listed[1].target:find("127.0.0.1", 1, true))
  assert(listed[1].age >= 0)
  status:cancel()
  pcall(status.wait, status)
  client:close()
  server:close()
end)

test("a task has an id, a type, a status and a birth time", function()
  local task = Scheduler.spawn(Scheduler.sleep, 0)
  assert(math.type(task:id()) == "integer" and task:type() == "code" and task:status() == "ready")
  assert(task:birth_time() <= Scheduler.now())
  task:join()
  assert(task:status() == "done" and Scheduler.current():status() == "running")
end)
