-- Programs joined by pipes, as a shell joins them, with a program of this script's own in the middle.
--
--   corella run examples/pipeline.lua [FOLDER] [COUNT]
--
-- Shows the COUNT words (10 unless given) that are in the text files of FOLDER most often:
--
--   find FOLDER … | (this script: files to words) | sort | uniq -c | sort -rn | head
--
-- Every program runs at once and nobody reads ahead more than a pipe holds, however large the folder is. If one fails, so
-- does the whole, and its name and code are told.

local folder, count = arg[1] or ".", math.tointeger(tonumber(arg[2] or 10))
if not count or count < 1 or arg[3] then
  stderr:print("usage: corella run pipeline.lua [FOLDER] [COUNT]\n")
  os.exit(2)
end

-- The programs of the pipeline, each with its name; and which of them may be ended by a reader that has had enough.
local programs = {}

local SIGPIPE = 13

local function start(command, may_be_cut)
  local program = FileHandle.open(command, "p")
  programs[#programs + 1] = { name = command[1], handle = program, may_be_cut = may_be_cut }
  return program
end

-- A program that reads what another one writes. The other one's handle is not needed any more: the program has its own.
local function pipe_to(source, command, may_be_cut)
  command.stdin = source
  -- The order of words is that of their bytes, wherever this runs.
  command.env = { LC_ALL = "C" }
  local program = start(command, may_be_cut)
  source:close()
  return program
end

-- Reads names of files and writes the words of those files, one a line.
local function words_of_files(names, writer)
  for name in names:lines("\0") do
    local ok, problem = pcall(function()
      local file <close> = FileHandle.open(name)
      for line in file:lines() do
        for word in line:gmatch("%a+") do
          writer:print(word:lower(), "\n")
        end
      end
    end)
    if not ok then
      stderr:print("pipeline.lua: " .. tostring(problem) .. "\n")
    end
  end
  writer:close()
end

local names = start({ "find", folder, "-type", "f", "(", "-name", "*.txt", "-o", "-name", "*.md", ")", "-print0" })
local reader, writer = FileHandle.pipe()
local words = Scheduler.spawn(words_of_files, names, writer)
local sorted = pipe_to(reader, { "sort" })
local counted = pipe_to(sorted, { "uniq", "-c" })
local ranked = pipe_to(counted, { "sort", "-k1,1rn", "-k2,2" }, true)
local first = pipe_to(ranked, { "head", "-n", tostring(count) })

for line in first:lines() do
  local times, word = line:match("^%s*(%d+) (.+)$")
  print(("%7d  %s"):format(times, word))
end
words:join()

local failures = 0
for _, program in ipairs(programs) do
  local code, signal = program.handle:exit_status()
  if code ~= 0 and not (program.may_be_cut and signal == SIGPIPE) then
    failures = failures + 1
    local how = code and "exit code " .. code or "signal " .. signal
    stderr:print(("pipeline.lua: %s: %s\n"):format(program.name, how))
  end
end
os.exit(failures == 0 and 0 or 1)
