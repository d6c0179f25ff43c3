-- The forms of a call, and what a Status can be asked.
local suite = require("suite")
local test, fails = suite.test, suite.fails

test("one who takes a Status for the handle that came of it is told so", function()
  local status = FileHandle.open(suite.file("12345"), "r", { async = true })
  local problem = fails("a Status has no 'read'; what came of it is status:result()", function()
    local text = status:read(5)
    return text
  end)
  assert(problem:find("status.lua:%d+: "), problem)
  assert(status.other == nil and status:wait():read(5) == "12345")
end)

test("without a callback a call is synchronous for its caller", function()
  assert(fs.stat(suite.file("12345")).size == 5)
end)

test("with a callback it returns a Status at once and calls the callback with that Status", function()
  local called
  local status = fs.stat(suite.file("12345"), function(finished)
    called = finished
  end)
  assert(called == nil, "never inside the call")
  assert(status:wait().size == 5)
  Scheduler.poll()
  assert(rawequal(called, status))
end)

test("a Status is 0 while it runs, 1 when it is done, -1 when it has failed", function()
  local status = Scheduler.sleep(0.05, { async = true })
  assert(status:get_integer() == 0 and status:get_bool())
  while status:get_integer() == 0 do
    Scheduler.poll()
  end
  assert(status:get_integer() == 1 and status:get_bool())
  local failed = fs.stat(suite.path(), { async = true })
  pcall(failed.wait, failed)
  assert(failed:get_integer() == -1 and not failed:get_bool(), "false only on error")
end)

test("result gives what came of it and error what went wrong", function()
  local status = FileHandle.open(suite.file("x"), { async = true })
  fails("still running", status.result, status)
  local file = status:wait()
  assert(rawequal(status:result(), file) and status:error() == nil)
  status:throw()
  file:close()
  local failed = fs.stat(suite.path(), { async = true })
  fails("No such file", failed.wait, failed)
  assert(failed:error().code == 2)
  fails("No such file", failed.throw, failed)
  fails("No such file", failed.result, failed)
end)

test("callbacks may be added at any time, and as many as one likes", function()
  local log = {}
  local function note(what)
    return function(status)
      log[#log + 1] = what .. (status:get_bool() and " well" or " failed")
    end
  end
  local status = Scheduler.sleep(0, { async = true })
  status:on(note("early")):on_error(note("never"))
  status:wait()
  status:on(note("late"))
  local failed = fs.stat(suite.path(), { async = true }):on_error(note("error"))
  pcall(failed.wait, failed)
  Scheduler.run()
  table.sort(log)
  assert(table.concat(log, ", ") == "early well, error failed, late well")
end)

test("what is cancelled fails as Cancelled, unless it was done before", function()
  local status = Scheduler.sleep(60, { async = true })
  status:cancel()
  assert(fails("cancelled", status.wait, status).kind == "Cancelled")
  local done = Scheduler.sleep(0, { async = true })
  done:wait()
  done:cancel()
  assert(done:get_integer() == 1)
end)

test("requests on one handle take effect in the order of the calls, whatever their form", function()
  local file <close> = FileHandle.open(suite.path(), "rw")
  for number = 1, 500 do
    file:write_at(("%08d"):format(number), 0, { async = true })
  end
  assert(file:read_at(8, 0) == "00000500")
end)

test("a deadline fails what is not done in time", function()
  assert(fails("deadline passed", Scheduler.sleep, 60, { deadline = 0.005 }).kind == "TimedOut")
end)
