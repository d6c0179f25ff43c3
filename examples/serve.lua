-- A file server for HTTP/1.1: one task for each connection, files of any size in constant memory.
--
--   corella run examples/serve.lua DIR PORT        (port 0: the OS chooses one)
--
-- It answers GET and HEAD, keeps connections alive, and knows single ranges. Paths with `..` are refused, encoded or
-- not; names that begin with a dot are neither listed nor served, and symbolic links inside DIR are not followed. That
-- holds for a DIR that stays as it is: each part of a path is looked at before the file is opened, so whoever may change
-- DIR at that moment can have a link followed after all.

local CHUNK_BYTES = 256 * 1024
local HEAD_BYTES_MAX = 16 * 1024
local BLANK_LINES_MAX = 2 -- before a head
local IDLE_SECONDS = 30 -- for the next head to be complete
local SEND_SECONDS = 60 -- for a chunk to be taken
local LINGER_SECONDS = 2 -- for the client to take an error before the connection is closed
local LINGER_BYTES_MAX = 256 * 1024

local TYPES = {
  css = "text/css; charset=utf-8",
  gif = "image/gif",
  htm = "text/html; charset=utf-8",
  html = "text/html; charset=utf-8",
  ico = "image/x-icon",
  jpeg = "image/jpeg",
  jpg = "image/jpeg",
  js = "text/javascript; charset=utf-8",
  json = "application/json",
  lua = "text/plain; charset=utf-8",
  md = "text/plain; charset=utf-8",
  mp4 = "video/mp4",
  pdf = "application/pdf",
  png = "image/png",
  rs = "text/plain; charset=utf-8",
  svg = "image/svg+xml",
  txt = "text/plain; charset=utf-8",
  wasm = "application/wasm",
  webp = "image/webp",
}

local REASONS = {
  [200] = "OK",
  [206] = "Partial Content",
  [301] = "Moved Permanently",
  [400] = "Bad Request",
  [403] = "Forbidden",
  [404] = "Not Found",
  [405] = "Method Not Allowed",
  [408] = "Request Timeout",
  [416] = "Range Not Satisfiable",
  [431] = "Request Header Fields Too Large",
  [500] = "Internal Server Error",
  [501] = "Not Implemented",
  [505] = "HTTP Version Not Supported",
}

-- Methods that HTTP has and this server does not.
local OTHER_METHODS = { CONNECT = true, DELETE = true, OPTIONS = true, PATCH = true, POST = true, PUT = true, TRACE = true }

local ACCESS_DENIED = 13 -- EACCES

local function fail(problem)
  stderr:print("serve.lua: ", tostring(problem), "\n")
  os.exit(1)
end

if #arg ~= 2 then
  stderr:print("usage: corella run serve.lua DIR PORT\n")
  os.exit(2)
end
local directory, port = arg[1], math.tointeger(tonumber(arg[2]))
if not port or port < 0 or port > 65535 then
  fail("the port is a number from 0 to 65535, and not " .. arg[2])
end
local is_there, found = pcall(fs.stat, directory)
if not is_there then
  fail(found)
elseif found.kind ~= "directory" then
  fail(directory .. " is not a directory")
end

-- Answers.

local function send(connection, text)
  connection.socket:send(text, { deadline = SEND_SECONDS })
end

local function send_head(connection, code, fields)
  connection.is_answered = true
  local lines = { ("HTTP/1.1 %d %s"):format(code, REASONS[code]), os.date("!Date: %a, %d %b %Y %H:%M:%S GMT") }
  for _, field in ipairs(fields) do
    lines[#lines + 1] = field
  end
  lines[#lines + 1] = connection.keeps and "Connection: keep-alive" or "Connection: close"
  send(connection, table.concat(lines, "\r\n") .. "\r\n\r\n")
end

local function send_text(connection, code, kind, text, ...)
  send_head(connection, code, { "Content-Type: " .. kind, "Content-Length: " .. #text, ... })
  if connection.method ~= "HEAD" then
    send(connection, text)
  end
end

local function send_error(connection, code, ...)
  send_text(connection, code, "text/plain; charset=utf-8", code .. " " .. REASONS[code] .. "\n", ...)
end

-- Paths.

local function decode(text)
  if text:gsub("%%%x%x", ""):find("%", 1, true) then
    return nil
  end
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function encode(text)
  return (text:gsub("[^%w%-._~]", function(character)
    return ("%%%02X"):format(character:byte())
  end))
end

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- The path below the directory that a request names, or nil where there is none. Second: what is there.
local function locate(decoded)
  local path, found = directory, fs.stat(directory)
  for part in decoded:gmatch("[^/]+") do
    if part == ".." then
      return nil
    elseif part ~= "." then
      if part:sub(1, 1) == "." then
        return nil
      end
      path = path .. "/" .. part
      local ok, metadata = pcall(fs.lstat, path)
      if not ok or metadata.kind == "link" then
        return nil
      end
      found = metadata
    end
  end
  return path, found
end

local function send_listing(connection, path, shown)
  local names = {}
  for _, entry in ipairs(fs.readdir(path)) do
    local is_shown = entry.kind == "file" or entry.kind == "directory"
    if is_shown and entry.name:sub(1, 1) ~= "." then
      names[#names + 1] = entry.kind == "directory" and entry.name .. "/" or entry.name
    end
  end
  table.sort(names)
  local lines = { "<!doctype html><meta charset=utf-8><title>" .. escape(shown) .. "</title><h1>" .. escape(shown) .. "</h1><ul>" }
  for _, name in ipairs(names) do
    local target = encode((name:gsub("/$", ""))) .. (name:match("/$") or "")
    lines[#lines + 1] = ('<li><a href="./%s">%s</a>'):format(target, escape(name))
  end
  lines[#lines + 1] = "</ul>\n"
  send_text(connection, 200, TYPES.html, table.concat(lines, "\n"))
end

-- Files.

-- First and last byte of a range header, false where it cannot be had, nil where it is to be ignored.
local function range_of(header, size)
  local first, last = header:match("^bytes=(%d*)%-(%d*)$")
  if not first or (first == "" and last == "") or #first > 18 or #last > 18 then
    return nil
  end
  first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
  if not first then
    -- The last so many bytes.
    if last == 0 or size == 0 then
      return false
    end
    return math.max(0, size - last), size - 1
  elseif last and last < first then
    return nil
  elseif first >= size then
    return false
  end
  return first, math.min(last or size - 1, size - 1)
end

-- Sends bytes of a file: while one chunk is sent the next is read.
local function send_bytes(connection, file, first, last)
  local function read_ahead(offset)
    return file:read_at(math.min(CHUNK_BYTES, last - offset + 1), offset, { async = true })
  end
  local offset = first
  local ahead = offset <= last and read_ahead(offset)
  while offset <= last do
    local chunk = ahead:wait()
    if chunk == "" then
      -- The file has become shorter than was promised.
      connection.keeps = false
      return
    end
    offset = offset + #chunk
    if offset <= last then
      ahead = read_ahead(offset)
    end
    send(connection, chunk)
  end
end

local function send_file(connection, path, metadata)
  local opened, file = pcall(FileHandle.open, path)
  if not opened then
    return send_error(connection, file.code == ACCESS_DENIED and 403 or 404)
  end
  local file <close> = file
  local size = metadata.size
  local code, first, last = 200, 0, size - 1
  local fields = {
    "Content-Type: " .. (TYPES[(path:match("%.(%w+)$") or ""):lower()] or "application/octet-stream"),
    "Accept-Ranges: bytes",
    os.date("!Last-Modified: %a, %d %b %Y %H:%M:%S GMT", math.floor(metadata.modified)),
  }
  local header = connection.fields["range"]
  if header and connection.method == "GET" and not connection.fields["if-range"] then
    local from, to = range_of(header, size)
    if from == false then
      return send_error(connection, 416, "Content-Range: bytes */" .. size)
    elseif from then
      code, first, last = 206, from, to
      fields[#fields + 1] = ("Content-Range: bytes %d-%d/%d"):format(first, last, size)
    end
  end
  fields[#fields + 1] = "Content-Length: " .. last - first + 1
  send_head(connection, code, fields)
  if connection.method == "GET" then
    send_bytes(connection, file, first, last)
  end
end

-- Requests.

-- The next head, or nil at the end of the connection. Second: a code where it cannot be one.
local function read_head(connection)
  local limit = Scheduler.now() + IDLE_SECONDS
  local searched, blank_lines = 1, 0
  while true do
    while blank_lines < BLANK_LINES_MAX and connection.received:find("^\r?\n") do
      connection.received = connection.received:gsub("^\r?\n", "")
      blank_lines = blank_lines + 1
    end
    local first, last = connection.received:find("\r?\n\r?\n", searched)
    if (last or #connection.received + 1) > HEAD_BYTES_MAX then
      return nil, 431
    elseif first then
      local head = connection.received:sub(1, first - 1)
      connection.received = connection.received:sub(last + 1)
      return head
    end
    searched = math.max(1, #connection.received - 3)
    local deadline = math.max(0, limit - Scheduler.now())
    local ok, more = pcall(connection.socket.recv, connection.socket, 4096, { deadline = deadline })
    if not ok and more.kind == "TimedOut" then
      return nil, connection.received ~= "" and 408 or nil
    elseif not ok then
      error(more, 0)
    elseif more == "" then
      return nil, connection.received:find("%S") and 400 or nil
    end
    connection.received = connection.received .. more
  end
end

-- Whether a list of words, separated by commas, has this one.
local function has_word(list, wanted)
  for word in (list or ""):lower():gmatch("[^,]+") do
    if word:match("^%s*(.-)%s*$") == wanted then
      return true
    end
  end
  return false
end

-- The fields of a head, or nil where it is malformed or could be read in two ways.
local function parse_fields(lines)
  local fields = {}
  for line in lines:gmatch("[^\n]+") do
    line = line:gsub("\r$", "")
    local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
    if not name or value:find("[\0-\8\10-\31\127]") then
      return nil
    end
    name = name:lower()
    if fields[name] and (name == "host" or name == "content-length") then
      return nil
    end
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
  local length = fields["content-length"]
  if length and (not length:find("^%d+$") or fields["transfer-encoding"]) then
    return nil
  end
  return fields
end

-- Reads a head into the connection; false where it is malformed.
local function parse(connection, head)
  local first, rest = head:match("^([^\n]*)\n?(.*)$")
  connection.method, connection.target, connection.version =
    first:match("^([%w!#$%%&'*+%-.^_`|~]+) ([^%s%c]+) HTTP/(%d%.%d)\r?$")
  connection.fields = parse_fields(rest)
  if not connection.method or not connection.fields then
    return false
  end
  local wish, is_old = connection.fields["connection"], connection.version == "1.0"
  connection.keeps = not has_word(wish, "close") and (not is_old or has_word(wish, "keep-alive"))
  -- A body is not read, so nothing can follow it.
  if connection.fields["transfer-encoding"] or (connection.fields["content-length"] or "0"):find("[^0]") then
    connection.keeps = false
  end
  return is_old or connection.version:sub(1, 2) ~= "1." or connection.fields["host"] ~= nil
end

-- Path and query of a target, or nil.
local function split(target)
  local rest = target:match("^[hH][tT][tT][pP]://[^/?#]+(.*)$")
  if rest and rest:sub(1, 1) ~= "/" then
    rest = "/" .. rest
  end
  return (rest or target):match("^(/[^?#]*)(%??[^#]*)$")
end

local function answer(connection)
  if connection.version:sub(1, 2) ~= "1." then
    connection.keeps = false
    return send_error(connection, 505)
  elseif OTHER_METHODS[connection.method] then
    return send_error(connection, 405, "Allow: GET, HEAD")
  elseif connection.method ~= "GET" and connection.method ~= "HEAD" then
    return send_error(connection, 501)
  end
  local raw, query = split(connection.target)
  local decoded = raw and decode(raw)
  if not decoded or decoded:find("\0", 1, true) then
    connection.keeps = false
    return send_error(connection, 400)
  end
  local path, metadata = locate(decoded)
  if not path then
    return send_error(connection, 404)
  elseif metadata.kind == "file" and decoded:sub(-1) ~= "/" then
    return send_file(connection, path, metadata)
  elseif metadata.kind ~= "directory" then
    return send_error(connection, 404)
  elseif decoded:sub(-1) ~= "/" then
    -- Not of the request's own text: two slashes at its start would be another host.
    return send_error(connection, 301, "Location: /" .. raw:gsub("^/+", "") .. "/" .. query)
  end
  local ok, index = pcall(fs.lstat, path .. "/index.html")
  if ok and index.kind == "file" then
    return send_file(connection, path .. "/index.html", index)
  end
  send_listing(connection, path, decoded)
end

-- Reads on for a while: a close with bytes unread would take the answer away from the client.
local function linger(socket)
  local limit, taken = Scheduler.now() + LINGER_SECONDS, 0
  socket:shutdown("write")
  repeat
    local more = socket:recv(65536, { deadline = math.max(0, limit - Scheduler.now()) })
    taken = taken + #more
  until more == "" or taken > LINGER_BYTES_MAX
end

local function serve(socket)
  local socket <close> = socket
  local connection = { socket = socket, received = "", keeps = true }
  while connection.keeps do
    connection.method, connection.is_answered = nil, false
    local head, code = read_head(connection)
    if head and not parse(connection, head) then
      code = 400
    end
    if code then
      connection.keeps = false
      send_error(connection, code)
      return linger(socket)
    elseif not head then
      return
    end
    local ok, problem = pcall(answer, connection)
    if not ok then
      connection.keeps = false
      if not connection.is_answered then
        send_error(connection, type(problem) == "userdata" and problem.code == ACCESS_DENIED and 403 or 500)
      end
      error(problem, 0)
    end
  end
end

local listens, listener = pcall(Socket.listen, "127.0.0.1", port)
if not listens then
  fail(listener)
end
listener:accept(function(accepted)
  local ok, problem = pcall(function()
    serve(accepted:result())
  end)
  -- A peer that goes away, or is too slow, is no fault of the server's.
  if not ok and type(problem) == "string" then
    stderr:print(problem, "\n")
  end
end)
local _, bound = listener:local_address()
print("serving " .. directory .. " on http://127.0.0.1:" .. bound)
Scheduler.run()
