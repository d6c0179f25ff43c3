-- Fetches URLs over plain HTTP, many at once.
--
--   corella run examples/fetch.lua [-o DIRECTORY] [-t SECONDS] URL...
--
-- Each attempt has SECONDS (10 unless given); what fails for a reason that may pass, as a refused connection or a 503,
-- is tried again, with longer and longer pauses. With -o the bodies go to files named after the URLs.

local ATTEMPTS = 4
local FIRST_PAUSE_SECONDS = 0.1
local AT_ONCE = 32
local REDIRECTIONS_MAX = 5
local LINE_BYTES_MAX, HEADERS_MAX = 16 * 1024, 200
local BLOCK_BYTES = 64 * 1024

local directory, seconds, urls = nil, 10, {}
local index = 1
while arg[index] do
  if arg[index] == "-o" then
    directory, index = arg[index + 1], index + 1
  elseif arg[index] == "-t" then
    seconds, index = tonumber(arg[index + 1]), index + 1
  else
    urls[#urls + 1] = arg[index]
  end
  index = index + 1
end
if #urls == 0 or not seconds then
  stderr:print("usage: corella run fetch.lua [-o DIRECTORY] [-t SECONDS] URL...\n")
  os.exit(2)
end

-- An error after which another attempt makes no sense.
local function for_good(text)
  error({ is_for_good = true, text = text }, 0)
end

local function parse(url)
  local rest = url:match("^http://(.+)$") or for_good("only http:// is spoken here")
  local authority, path = rest:match("^([^/?#]+)([^#]*)")
  local host, port = (authority or for_good("there is no host")):match("^(%[.-%]):?(%d*)$")
  if not host then
    host, port = authority:match("^([^:]+):?(%d*)$")
  end
  if not host or path:find("[%c ]") then
    for_good("that is no URL")
  end
  if path:sub(1, 1) ~= "/" then
    path = "/" .. path
  end
  return host, tonumber(port) or 80, path, authority
end

-- A line of the head, without its end.
local function head_line(socket)
  local line = socket:readline("\n", { limit = LINE_BYTES_MAX })
  if line:sub(-1) ~= "\n" then
    error("the head of the answer is cut off", 0)
  end
  return (line:gsub("\r?\n$", ""))
end

local function read_head(socket)
  local status = tonumber(head_line(socket):match("^HTTP/1%.[01] (%d%d%d)")) or error("that is no HTTP", 0)
  local headers = {}
  for _ = 1, HEADERS_MAX do
    local line = head_line(socket)
    if line == "" then
      return status, headers
    end
    local name, value = line:match("^([^:%s]+):%s*(.-)%s*$")
    if name then
      headers[name:lower()] = value
    end
  end
  error("the answer has too many headers", 0)
end

-- Gives so many bytes to `write`.
local function pass_on(socket, count, write)
  while count > 0 do
    local data = socket:recv(math.min(count, BLOCK_BYTES))
    if data == "" then
      error("the body is cut off", 0)
    end
    write(data)
    count = count - #data
  end
end

local function read_chunks(socket, write)
  while true do
    local size = tonumber(head_line(socket):match("^%x+") or error("that is no chunk", 0), 16)
    if size == 0 then
      repeat until head_line(socket) == ""
      return
    end
    pass_on(socket, size, write)
    head_line(socket)
  end
end

local function read_body(socket, headers, write)
  local length = headers["content-length"]
  if (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
    read_chunks(socket, write)
  elseif length then
    pass_on(socket, math.tointeger(tonumber(length)) or error("that is no length: " .. length, 0), write)
  else
    repeat
      local data = socket:recv(BLOCK_BYTES)
      write(data)
    until data == ""
  end
end

-- The name of a file for a URL.
local function file_name(url)
  return directory .. "/" .. url:gsub("^http://", ""):gsub("[^%w.-]", "_")
end

-- One attempt. Gives the status and how many bytes the body has, or where to go instead.
local function attempt(url, name)
  local host, port, path, authority = parse(url)
  local socket <close> = Socket.connect(host, port)
  socket:send(("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: corella\r\nConnection: close\r\n\r\n"):format(path, authority))
  local status, headers = read_head(socket)
  if status >= 300 and status < 400 and headers.location then
    local target = headers.location
    return status, 0, target:find("^/") and "http://" .. authority .. target or target
  elseif status >= 500 then
    error("the server answered " .. status, 0)
  end
  local bytes = 0
  local file <close> = directory and FileHandle.open(file_name(name), "w") or nil
  read_body(socket, headers, function(data)
    bytes = bytes + #data
    if file then
      file:print(data)
    end
  end)
  return status, bytes
end

local function fetch(url)
  local target, redirections, pause, problem = url, 0, FIRST_PAUSE_SECONDS, nil
  local tries = 1
  while tries <= ATTEMPTS do
    local ok, status, bytes, elsewhere = pcall(Scheduler.timeout, seconds, attempt, target, url)
    if ok and elsewhere then
      target, redirections = elsewhere, redirections + 1
      if redirections > REDIRECTIONS_MAX then
        return nil, "redirected too often"
      end
    elseif ok then
      return status, bytes, tries
    else
      problem = status
      if type(problem) == "table" and problem.is_for_good then
        return nil, problem.text
      elseif tries < ATTEMPTS then
        Scheduler.sleep(pause * (1 + math.random()))
        pause = pause * 2
      end
      tries = tries + 1
    end
  end
  return nil, ("%s (%d attempts)"):format(tostring(problem), ATTEMPTS)
end

local queue, failed = Scheduler.channel(AT_ONCE), 0
local workers = {}
for number = 1, math.min(AT_ONCE, #urls) do
  workers[number] = Scheduler.spawn(function()
    for url in queue:values() do
      local began = Scheduler.now()
      local status, detail, tries = fetch(url)
      if status then
        local again = tries > 1 and (", attempt %d"):format(tries) or ""
        print(("%d %s: %d bytes in %.2f s%s"):format(status, url, detail, Scheduler.now() - began, again))
        failed = failed + (status < 400 and 0 or 1)
      else
        print(("failed %s: %s"):format(url, detail))
        failed = failed + 1
      end
    end
  end)
end
for _, url in ipairs(urls) do
  queue:send(url)
end
queue:close()
for _, worker in ipairs(workers) do
  worker:join()
end
os.exit(failed == 0 and 0 or 1)
