-- Encodings: characters in a script, bytes in a file.
local suite = require("suite")
local test, fails, content = suite.test, suite.fails, suite.content

test("with an encoding read counts characters and tell counts bytes", function()
  local file <close> = FileHandle.open(suite.file("aß€𝄞z"))
  file:encoding("utf8")
  assert(file:read(2) == "aß" and file:tell() == 3)
  assert(file:read(2) == "€𝄞" and file:tell() == 10)
  assert(file:read(100) == "z" and file:tell() == 11)
end)

test("a character split across buffers is put together", function()
  -- One byte before, so that every border falls into a character sooner or later.
  local file <close> = FileHandle.open(suite.file("." .. ("€"):rep(100000)))
  file:encoding("utf8")
  file:buffer_size(100)
  assert(file:read(1) == ".")
  for _ = 1, 100 do
    assert(file:read(1000) == ("€"):rep(1000))
  end
  assert(file:read(1) == "" and file:eof())
end)

test("printed text is encoded on the way out", function()
  local path = suite.path()
  do
    local file <close> = FileHandle.open(path, "w")
    file:encoding("latin1")
    assert(file:print("ß\n") == 2)
    file:encoding("utf16le")
    assert(file:print("ß") == 2)
  end
  assert(content(path) == "\xdf\n\xdf\x00")
end)

test("text that the encoding does not have is an error, and nothing of it is written", function()
  local path = suite.path()
  do
    local file <close> = FileHandle.open(path, "w")
    file:encoding("latin1")
    local problem = fails("latin1 has no character U+20AC", file.print, file, "five €")
    assert(problem.kind == "InvalidEncoding" and problem.offset == 5)
    file:print("ok")
  end
  assert(content(path) == "ok")
end)

test("an invalid byte in the middle of a stream is an error at its place, and reading goes on after it", function()
  local file <close> = FileHandle.open(suite.file("good \xfe bad\nnext\n"))
  file:encoding("utf8")
  local problem = fails("at byte 5 stands what is no utf8: fe", file.readline, file)
  assert(problem.offset == 5 and problem.partial == "good ")
  assert(file:readline() == " bad\n" and file:readline() == "next\n")
end)

test("lines and their separators have the handle's encoding", function()
  for _, encoding in ipairs({ "utf8", "utf16le", "utf16be", "latin1" }) do
    local path = suite.path()
    local file <close> = FileHandle.open(path, "rw")
    file:encoding(encoding)
    file:print("eins§zwei\n", "drei\n")
    file:seek(0)
    assert(file:readline("§") == "eins§")
    assert(file:readline() == "zwei\n" and file:readline() == "drei\n" and file:readline() == "")
  end
end)
