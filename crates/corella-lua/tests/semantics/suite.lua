-- What the files of this folder share. Each of them is a program of its own:
--
--   corella run crates/corella-lua/tests/semantics/reading.lua            runs all of its tests
--   corella run crates/corella-lua/tests/semantics/reading.lua "a name"   runs one

local suite = {}

local only = arg[1]
local made = {}

-- A path that is free. What is there when the test ends is removed.
function suite.path()
  local path = os.tmpname()
  fs.unlink(path)
  made[#made + 1] = path
  return path
end

-- A path of a file with this content.
function suite.file(content)
  local path = suite.path()
  local file <close> = FileHandle.open(path, "w")
  file:print(content)
  return path
end

-- What is in a file.
function suite.content(path)
  local file <close> = FileHandle.open(path)
  return file:readall()
end

-- Checks that a call raises an error with `text` in it, and gives the error.
function suite.fails(text, call, ...)
  local ok, problem = pcall(call, ...)
  assert(not ok, "it should have failed: " .. text)
  assert(tostring(problem):find(text, 1, true), "another error than '" .. text .. "': " .. tostring(problem))
  return problem
end

-- Two ends of one connection.
function suite.connection()
  local listener <close> = Socket.listen("127.0.0.1", 0)
  local accepting = listener:accept({ async = true })
  local client = Socket.connect(listener:local_address())
  return client, accepting:wait()
end

local function clean_up()
  for _, path in ipairs(made) do
    local ok, found = pcall(fs.lstat, path)
    if ok and found.kind ~= "directory" then
      fs.unlink(path)
    end
  end
  made = {}
end

-- Runs a test, unless another one was asked for.
function suite.test(name, call)
  if only and only ~= name then
    return
  end
  local ok, problem = xpcall(call, function(problem)
    return debug.traceback(tostring(problem))
  end)
  clean_up()
  if not ok then
    error(name .. ": " .. problem, 0)
  end
  if not only then
    print("ok  " .. name)
  end
end

return suite
