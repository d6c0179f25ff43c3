-- Buffering of output, and closing.
local suite = require("suite")
local test, fails, content = suite.test, suite.fails, suite.content

test("unbuffered output is out at once", function()
  local path = suite.path()
  local file <close> = FileHandle.open(path, "w")
  file:buffer_type("unbuffered")
  file:print("x")
  assert(content(path) == "x")
end)

test("with line buffering a write with a newline flushes", function()
  local path = suite.path()
  local file <close> = FileHandle.open(path, "w")
  file:buffer_type("line")
  file:print("no end yet")
  assert(content(path) == "")
  file:print(", now\nand more")
  assert(content(path) == "no end yet, now\nand more")
end)

test("full buffering waits for a full buffer", function()
  local path = suite.path()
  local file <close> = FileHandle.open(path, "w")
  assert(file:buffer_type() == "full")
  file:buffer_size(1000)
  file:print(("x\n"):rep(499))
  assert(content(path) == "")
  file:print("xx")
  assert(#content(path) == 1000)
end)

test("close flushes", function()
  local path = suite.path()
  local file = FileHandle.open(path, "w")
  file:print("last words")
  file:close()
  assert(content(path) == "last words")
end)

test("the end of a scope closes, and buffered output goes out", function()
  local path, kept = suite.path(), nil
  do
    local file <close> = FileHandle.open(path, "w")
    file:print("scope")
    kept = file
  end
  assert(kept:is_closed() and content(path) == "scope")
end)

test("the collector closes in the background, and buffered output goes out", function()
  local path = suite.path()
  FileHandle.open(path, "w"):print("collected")
  collectgarbage()
  local limit = Scheduler.now() + 10
  while content(path) ~= "collected" do
    assert(Scheduler.now() < limit)
  end
end)

test("a second close is an error value, not a crash", function()
  local file = FileHandle.open(suite.file("x"))
  file:close()
  local problem = fails("the handle is closed", file.close, file)
  assert(problem.kind == "Closed")
end)

test("reading an unopened handle or writing a read-only one is an error", function()
  local unopened = FileHandle.new()
  fails("the handle is not open", unopened.read, unopened, 1)
  fails("the handle is not open", unopened.print, unopened, "x")
  local reader <close> = FileHandle.open(suite.file("x"))
  fails("the handle is open for reading only", reader.print, reader, "x")
  fails("the handle is open for reading only", reader.write_at, reader, "x", 0)
end)

test("a request in flight keeps its handle and its callback alive", function()
  local path, called = suite.path(), nil
  do
    local file = FileHandle.open(path, "w")
    file:write_at("alive", 0, function(status)
      called = status:result()
    end)
  end
  collectgarbage()
  collectgarbage()
  Scheduler.run()
  assert(called == 5 and content(path) == "alive")
end)
