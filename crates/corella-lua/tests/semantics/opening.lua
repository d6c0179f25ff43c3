-- Opening files, and their modes.
local suite = require("suite")
local test, fails, content = suite.test, suite.fails, suite.content

test("open defaults to reading", function()
  local file <close> = FileHandle.open(suite.file("content"))
  assert(file:mode() == "r" and file:readall() == "content")
  fails("the handle is open for reading only", file.print, file, "x")
end)

test("a missing file is an error", function()
  local path = suite.path()
  local problem = fails("No such file or directory", FileHandle.open, path)
  assert(problem.kind == "Os" and problem.code == 2 and problem.target == path)
end)

test("a directory is an error", function()
  fails("Is a directory", FileHandle.open, "/")
end)

test("no path is an error", function()
  fails("path: a path is expected, got nothing", FileHandle.open)
  fails("path: a path is expected", FileHandle.open, 5)
end)

test("an already open handle is an error", function()
  local file <close> = FileHandle.open(suite.file("x"))
  fails("the handle is already open", file.open, file, suite.file("y"))
  assert(file:readall() == "x", "and goes on as it was")
end)

test("w empties a file or makes it", function()
  local path = suite.file("what was there before")
  FileHandle.open(path, "w"):close()
  assert(content(path) == "")
  local file <close> = FileHandle.open(suite.path(), "w")
  fails("the handle is open for writing only", file.read, file, 1)
end)

test("wa writes at the end", function()
  local path = suite.file("one,")
  do
    local file <close> = FileHandle.open(path, "wa")
    assert(file:tell() == 4)
    file:print("two,")
    -- Another one has written meanwhile.
    local other <close> = FileHandle.open(path, "wa")
    other:print("three,")
    other:flush()
    file:print("four")
  end
  assert(content(path) == "one,three,two,four")
end)

test("rw reads and writes and empties nothing", function()
  local path = suite.file("0123456789")
  do
    local file <close> = FileHandle.open(path, "rw")
    assert(file:read(3) == "012")
    file:print("xyz")
    assert(file:read(2) == "67")
  end
  assert(content(path) == "012xyz6789")
end)

test("an unknown mode is an error that names those that there are", function()
  fails('mode: "r", "w" (empties), "wa" (appends)', FileHandle.open, "/dev/null", "q")
end)

test("a handle may be made first and opened later, again and again", function()
  local file = FileHandle.new()
  assert(file:is_closed() and file:mode() == nil)
  for number = 1, 3 do
    file:open(suite.file("number " .. number))
    assert(file:readall() == "number " .. number)
    file:close()
  end
end)
