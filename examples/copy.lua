-- Copies a file with reads and writes that overlap.
--
--   corella run examples/copy.lua SOURCE DESTINATION
--
-- The bytes go to a file beside the destination, which gets its name only when all of it is there and durable. So
-- whatever happens, a full disk or Ctrl-C, the destination is the old file or the new one and never half of one.

local progress = require("progress")

local BLOCK_BYTES = 256 * 1024
-- So many blocks are on their way at once.
local BLOCKS_AT_ONCE = 16

local source_path, destination_path = ...
if not destination_path or select("#", ...) > 2 then
  stderr:print("usage: corella run copy.lua SOURCE DESTINATION\n")
  os.exit(2)
end

local function fail(problem)
  stderr:print("copy.lua: " .. tostring(problem) .. "\n")
  os.exit(1)
end

local function stat_or_nil(path)
  local ok, found = pcall(fs.stat, path)
  if ok then
    return found
  elseif found.code ~= 2 then
    error(found, 0)
  end
end

-- The file to write: into a directory under the source's name.
local function final_path()
  local there = stat_or_nil(destination_path)
  if there and there.kind == "directory" then
    return destination_path:gsub("/*$", "") .. "/" .. source_path:match("[^/]+$")
  end
  return destination_path
end

-- Removes what is there if a copy does not come to its end, be it by an error or by Ctrl-C.
local function removed_unless_kept(path)
  return setmetatable({ is_kept = false }, {
    __close = function(guard)
      if not guard.is_kept then
        -- Where nothing can wait any more, a callback still works.
        fs.unlink(path, function(status) status:get_bool() end)
      end
    end,
  })
end

local function copy_blocks(source, target, size, bar)
  local next_offset = 0
  local function work()
    while next_offset < size do
      local offset = next_offset
      local wanted = math.min(BLOCK_BYTES, size - offset)
      next_offset = offset + wanted
      local block = source:read_at(wanted, offset)
      if #block < wanted then
        error("the source has become shorter while it was copied")
      end
      target:write_at(block, offset)
      bar:advance(wanted)
    end
  end
  local workers = {}
  for number = 1, BLOCKS_AT_ONCE do
    workers[number] = Scheduler.spawn(work)
  end
  for _, worker in ipairs(workers) do
    worker:join()
  end
end

local function copy()
  local source <close> = FileHandle.open(source_path)
  local before = fs.stat(source_path)
  local final = final_path()
  local there = stat_or_nil(final)
  if before.kind ~= "file" then
    error(source_path .. " is no regular file: " .. before.kind, 0)
  elseif there and there.inode == before.inode and there.device == before.device then
    error(source_path .. " and " .. final .. " are the same file", 0)
  end
  local part = ("%s.part-%08x"):format(final, math.random(0, 0xffffffff))
  local guard <close> = removed_unless_kept(part)
  do
    local target <close> = FileHandle.open(part, "w")
    local bar <close> = progress.bar("copying", before.size)
    copy_blocks(source, target, before.size, bar)
    target:sync()
  end
  fs.rename(part, final)
  guard.is_kept = true
  -- The new name, too, is to outlive a crash.
  fs.sync(final:match("^(.*)/[^/]*$") or ".")
  return before.size, final
end

local began = Scheduler.now()
local ok, size, final = pcall(copy)
if not ok then
  fail(size)
end
print(("%s: %s in %.2f s"):format(final, progress.bytes(size), Scheduler.now() - began))
