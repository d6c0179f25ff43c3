-- A progress bar on standard error, if that is a terminal; elsewhere nothing at all.
--
--   local progress = require("progress")
--   local bar <close> = progress.bar("copying", total_bytes)
--   bar:advance(bytes)

local progress = {}

local WIDTH = 30
-- Drawing more often than this only flickers.
local SECONDS_BETWEEN = 0.05

local Bar = {}
Bar.__index = Bar

-- A number of bytes as people read it.
function progress.bytes(count)
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local unit = 1
  while count >= 1024 and unit < #units do
    count, unit = count / 1024, unit + 1
  end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(count, units[unit])
end

-- A bar that is full at `total` bytes.
function progress.bar(title, total)
  local now = Scheduler.now()
  return setmetatable({ title = title, total = total, done = 0, began = now, drawn = 0, is_shown = stderr:isatty() }, Bar)
end

function Bar:draw()
  local share = self.total > 0 and math.min(self.done / self.total, 1) or 1
  local filled = math.floor(share * WIDTH)
  local seconds = Scheduler.now() - self.began
  local rate = seconds > 0 and self.done / seconds or 0
  stderr:print(("\r%s [%s%s] %3d %% of %s, %s/s \27[K"):format(
    self.title, ("#"):rep(filled), ("."):rep(WIDTH - filled), math.floor(share * 100),
    progress.bytes(self.total), progress.bytes(rate // 1)
  ), { async = true })
end

function Bar:advance(bytes)
  self.done = self.done + bytes
  local now = Scheduler.now()
  if self.is_shown and now - self.drawn >= SECONDS_BETWEEN then
    self.drawn = now
    self:draw()
  end
end

-- The end of its scope: the bar is drawn a last time, and the line ended.
function Bar:__close()
  if self.is_shown then
    self:draw()
    stderr:print("\n", { async = true })
  end
end

return progress
