-- The end of a program. The file that arg[2] names says afterwards what came of it.
local suite = require("suite")
local test = suite.test

test("at the end of the program all outstanding requests are settled", function()
  local log = arg[2] or suite.path()
  local file = FileHandle.open(log, "w")
  local listener = Socket.listen("127.0.0.1", 0)
  -- A passive listener is not waited for.
  listener:accept(function() end)
  Scheduler.sleep(0.02, function()
    file:write_at("settled", 0, function(status)
      status:throw()
      file:close()
    end)
  end)
end)

test("a task goes on after the main program has returned", function()
  Scheduler.spawn(function(path)
    Scheduler.sleep(0.02)
    local file <close> = FileHandle.open(path, "w")
    file:print("settled")
  end, arg[2] or suite.path())
end)

test("what was printed and let go of is written", function()
  local file = FileHandle.open(arg[2] or suite.path(), "w")
  file:print("settled")
end)
