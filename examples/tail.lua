-- Shows the ends of files, and what they grow by.
--
--   corella run examples/tail.lua [-n LINES] [-s SECONDS] FILE...
--
-- Files are looked at every SECONDS (0.2 unless given). One that becomes shorter is read from its start again, and one
-- that is replaced, as logs are when they are rotated, is opened anew.

local BLOCK_BYTES = 64 * 1024

local lines, seconds, paths = 10, 0.2, {}
local index = 1
while arg[index] do
  if arg[index] == "-n" then
    lines, index = math.tointeger(tonumber(arg[index + 1])), index + 1
  elseif arg[index] == "-s" then
    seconds, index = tonumber(arg[index + 1]), index + 1
  else
    paths[#paths + 1] = arg[index]
  end
  index = index + 1
end
if #paths == 0 or not lines or lines < 0 or not seconds then
  stderr:print("usage: corella run tail.lua [-n LINES] [-s SECONDS] FILE...\n")
  os.exit(2)
end

-- With several files it is said which one a piece is of.
local shown_path
local function show(path, text)
  if text == "" then
    return
  elseif #paths > 1 and shown_path ~= path then
    stdout:print((shown_path and "\n" or "") .. "==> " .. path .. " <==\n")
    shown_path = path
  end
  stdout:print(text)
  stdout:flush()
end

-- Where the last `lines` lines begin: the file is searched from its end, block by block.
local function start_of_last_lines(file, size)
  if lines == 0 then
    return size
  end
  local found, position = 0, size
  while position > 0 do
    local length = math.min(BLOCK_BYTES, position)
    position = position - length
    local block = file:read_at(length, position)
    for place = #block, 1, -1 do
      -- The end of the last line ends the file, and begins no line.
      if block:byte(place) == 10 and position + place < size then
        found = found + 1
        if found == lines then
          return position + place
        end
      end
    end
  end
  return 0
end

local function follow(path)
  local file, identity, position
  while true do
    local ok, now = pcall(fs.stat, path)
    if ok and file and (now.inode ~= identity.inode or now.device ~= identity.device) then
      -- What was written to the old one before it was replaced is not lost.
      show(path, file:readall())
      file:close()
      file, position = nil, 0
    end
    if ok and not file then
      file, identity = FileHandle.open(path), now
      position = position or start_of_last_lines(file, now.size)
      file:seek(position)
    elseif not ok and not file and not identity then
      error(now, 0)
    end
    if file then
      if ok and now.size < file:tell() then
        stderr:print("tail.lua: " .. path .. " has become shorter\n")
        file:seek(0)
      end
      show(path, file:readall())
    end
    Scheduler.sleep(seconds)
  end
end

local followers = {}
for number, path in ipairs(paths) do
  followers[number] = Scheduler.spawn(function()
    local ok, problem = pcall(follow, path)
    if not ok then
      stderr:print("tail.lua: " .. tostring(problem) .. "\n")
      return false
    end
  end)
end
for _, follower in ipairs(followers) do
  follower:join()
end
os.exit(1)
