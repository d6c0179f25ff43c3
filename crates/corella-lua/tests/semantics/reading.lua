-- Reading: characters, records, and the end.
local suite = require("suite")
local test, fails = suite.test, suite.fails

test("read gives what remains, then an empty string at the end", function()
  local file <close> = FileHandle.open(suite.file("0123456789"))
  assert(file:read(4) == "0123")
  assert(file:read(100) == "456789")
  assert(file:read(100) == "" and file:read(1) == "")
end)

test("eof is true only after a read past the end", function()
  local file <close> = FileHandle.open(suite.file("1234"))
  assert(not file:eof())
  file:read(4)
  assert(not file:eof(), "the last byte was read, and nothing past it")
  file:read(1)
  assert(file:eof())
  file:seek(0)
  assert(not file:eof(), "a seek clears it")
end)

test("readline keeps its terminator, gives an unterminated last line, then an empty string", function()
  local file <close> = FileHandle.open(suite.file("one\n\nlast"))
  assert(file:readline() == "one\n")
  assert(file:readline() == "\n", "an empty line is no end")
  assert(file:readline() == "last")
  assert(file:readline() == "" and file:eof())
end)

test("the record separator may be several characters, per handle or per call", function()
  local file <close> = FileHandle.open(suite.file("a=>b->c=>->d"))
  assert(file:record_separator() == "\n")
  file:record_separator("=>")
  assert(file:readline() == "a=>")
  assert(file:readline("->") == "b->", "for this call only")
  assert(file:readline() == "c=>")
  assert(file:readline() == "->d")
end)

test("ten thousand lines and a 32 KiB line survive buffering", function()
  local lines, long = {}, ("x"):rep(32 * 1024)
  for number = 1, 10000 do
    lines[number] = ("line %d of many"):format(number)
  end
  local file <close> = FileHandle.open(suite.file(table.concat(lines, "\n") .. "\n" .. long .. "\nend\n"))
  for number = 1, 10000 do
    assert(file:readline() == lines[number] .. "\n")
  end
  assert(file:readline() == long .. "\n" and file:readline() == "end\n" and file:readline() == "")
end)

test("peek consumes nothing", function()
  local file <close> = FileHandle.open(suite.file("abc"))
  assert(file:peek() == "a" and file:peek(2) == "ab" and file:tell() == 0)
  assert(file:read(3) == "abc" and file:peek() == "" and not file:eof())
end)

test("lines are without their ends, blocks are of a size", function()
  local file <close> = FileHandle.open(suite.file("one\ntwo\nthree"))
  local lines = {}
  for line in file:lines() do
    lines[#lines + 1] = line
  end
  assert(table.concat(lines, ",") == "one,two,three")
  file:seek(0)
  local sizes = {}
  for block in file:blocks(6) do
    sizes[#sizes + 1] = #block
  end
  assert(table.concat(sizes, ",") == "6,6,1")
end)

test("binary data is what it is", function()
  local bytes = {}
  for byte = 0, 255 do
    bytes[byte + 1] = string.char(byte)
  end
  local all = table.concat(bytes)
  local file <close> = FileHandle.open(suite.file(all .. all))
  assert(file:read(256) == all and file:readline("\0") == "\0" and file:readall() == all:sub(2))
end)

test("a read of nothing gives nothing, and of less than nothing is an error", function()
  local file <close> = FileHandle.open(suite.file("x"))
  assert(file:read(0) == "" and not file:eof())
  fails("length: must not be negative, got -1", file.read, file, -1)
  fails("length: an integer is expected, got 1.5", file.read, file, 1.5)
end)
