-- The file system, directories, and the standard streams.
local suite = require("suite")
local test, on_unix, fails = suite.test, suite.on_unix, suite.fails

test("stat says what a path is", function()
  local path = suite.file("12345")
  local found = fs.stat(path)
  assert(found.kind == "file" and found.size == 5 and math.abs(found.modified - os.time()) < 60)
  assert(fs.stat("/").kind == "directory")
  fails("No such file or directory", fs.stat, suite.path())
end)

on_unix("a link is followed by stat and told of by lstat", function()
  local path, link = suite.file("12345"), suite.path()
  fs.symlink(path, link)
  assert(fs.lstat(link).kind == "link" and fs.stat(link).size == 5 and fs.readlink(link) == path)
end)

test("files are renamed, linked and removed", function()
  local from, to = suite.file("x"), suite.path()
  fs.rename(from, to)
  fails("No such file", fs.stat, from)
  fs.link(to, from)
  assert(fs.stat(to).links == 2)
  fs.unlink(from)
  assert(fs.stat(to).links == 1)
end)

test("directories are made, listed and removed", function()
  local path = suite.path()
  fs.mkdir(path)
  fails("File exists", fs.mkdir, path)
  FileHandle.open(path .. "/one", "w"):close()
  fs.mkdir(path .. "/two")
  local kinds = {}
  for _, entry in ipairs(fs.readdir(path)) do
    kinds[entry.name] = entry.kind
  end
  assert(kinds.one == "file" and kinds.two == "directory" and kinds["."] == nil)
  fails("Directory not empty", fs.rmdir, path)
  fs.unlink(path .. "/one")
  fs.rmdir(path .. "/two")
  fs.rmdir(path)
end)

test("a directory is read name by name, and a place in it is found again", function()
  local path = suite.path()
  fs.mkdir(path)
  for number = 1, 20 do
    FileHandle.open(path .. "/" .. number, "w"):close()
  end
  local directory <close> = fs.opendir(path)
  for _ = 1, 7 do
    directory:readdir()
  end
  local place = directory:telldir()
  local eighth = directory:readdir().name
  for _ in directory:entries() do
  end
  assert(directory:readdir() == nil)
  directory:seekdir(place)
  assert(directory:readdir().name == eighth)
  directory:rewinddir()
  local count = 0
  for entry in directory:entries() do
    count = count + 1
    fs.unlink(path .. "/" .. entry.name)
  end
  assert(count == 20)
  directory:closedir()
  fails("the directory is closed", directory.readdir, directory)
  fs.rmdir(path)
end)

test("the standard streams are FileHandles", function()
  assert(stdout:mode() == "w" and stderr:mode() == "w" and stdin:mode() == "r")
  assert(stdin:get_fd() ~= stdout:get_fd())
  assert(type(stdout:isatty()) == "boolean")
  fails("open for writing only", stdout.read, stdout, 1)
end)
