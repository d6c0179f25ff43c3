-- Prints the SHA-256 sums of all files of a tree, as sha256sum does, sorted by path. Many files are read at once.
--
--   corella run examples/checksum.lua DIRECTORY > sums
--   sha256sum --check sums

local sha256 = require("sha256")

local FILES_AT_ONCE = 32
local BLOCK_BYTES = 64 * 1024

local root = ...
if not root or select("#", ...) > 1 then
  stderr:print("usage: corella run checksum.lua DIRECTORY\n")
  os.exit(2)
end

local failures = 0
local function complain(problem)
  failures = failures + 1
  stderr:print("checksum.lua: " .. tostring(problem) .. "\n")
end

local paths = Scheduler.channel(FILES_AT_ONCE)

-- Sends every regular file below a directory to the channel. Links are not followed, so that there is an end.
local function walk(path)
  local ok, entries = pcall(fs.readdir, path)
  if not ok then
    return complain(entries)
  end
  for _, entry in ipairs(entries) do
    local inner = path:gsub("/*$", "") .. "/" .. entry.name
    if entry.kind == "directory" then
      walk(inner)
    elseif entry.kind == "file" then
      paths:send(inner)
    end
  end
end

local function checksum(path)
  local file <close> = FileHandle.open(path)
  local sum = sha256.new()
  for block in file:blocks(BLOCK_BYTES) do
    sum:update(block)
    -- Counting is this program's own work: the reads of the others are to go on meanwhile.
    Scheduler.poll()
  end
  return sum:hex()
end

local sums, found = {}, {}
local function work()
  for path in paths:values() do
    local ok, sum = pcall(checksum, path)
    if ok then
      sums[path] = sum
      found[#found + 1] = path
    else
      complain(sum)
    end
  end
end

local workers = {}
for number = 1, FILES_AT_ONCE do
  workers[number] = Scheduler.spawn(work)
end
walk(root)
paths:close()
for _, worker in ipairs(workers) do
  worker:join()
end

table.sort(found)
for _, path in ipairs(found) do
  print(sums[path] .. "  " .. path)
end
os.exit(failures == 0 and 0 or 1)
