-- What the files of this folder share. Each of them is a program of its own:
--
--   corella run crates/corella-lua/tests/semantics/reading.lua            runs all of its tests
--   corella run crates/corella-lua/tests/semantics/reading.lua "a name"   runs one

local suite = {}

local only = arg[1]
local made = {}
local on_windows = package.config:sub(1, 1) == "\\"

-- A path that is free. What is there when the test ends is removed.
function suite.path()
  local path = os.tmpname()
  if on_windows then
    -- The name alone, and in no folder where one may write.
    path = (arg[2] or os.getenv("TEMP") .. "\\corella") .. #made .. path:gsub("[\\.]", "-")
  else
    fs.unlink(path)
  end
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

-- What the system's own texts begin with, and the codes that Windows has for them.
local codes_of_windows = {
  ["No such file"] = { 2, 3 },
  ["Is a directory"] = { 336 },
  ["Not a directory"] = { 267 },
  ["Directory not empty"] = { 145 },
  ["File exists"] = { 80, 183 },
  ["Broken pipe"] = { 109, 232 },
  ["Connection refused"] = { 10061 },
  ["Address already in use"] = { 10048 },
  ["Message too long"] = { 10040 },
}

-- Whether an error is the system's that `text` says, in the words of another system.
local function is_in_other_words(text, problem)
  for words, codes in pairs(codes_of_windows) do
    local place = text:find(words, 1, true)
    if place and on_windows and tostring(problem):find(text:sub(1, place - 1), 1, true) then
      for _, code in ipairs(codes) do
        if problem.code == code then
          return true
        end
      end
    end
  end
  return false
end

-- Checks that a call raises an error with `text` in it, and gives the error.
function suite.fails(text, call, ...)
  local ok, problem = pcall(call, ...)
  assert(not ok, "it should have failed: " .. text)
  local is_it = tostring(problem):find(text, 1, true) or is_in_other_words(text, problem)
  assert(is_it, "another error than '" .. text .. "': " .. tostring(problem))
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

-- A test of what Windows does not have: the Unix domain, pairs, a shell and its programs, links for everybody.
function suite.on_unix(name, call)
  if not on_windows then
    suite.test(name, call)
  end
end

-- A test of what Windows alone has.
function suite.on_windows(name, call)
  if on_windows then
    suite.test(name, call)
  end
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
