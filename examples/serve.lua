-- A file server for HTTP/1.1: one task for each connection, files of any size in constant memory.
--
--   corella run examples/serve.lua DIR PORT        (port 0: the OS chooses one)
--
-- It answers GET and HEAD, keeps connections alive, and knows single ranges. Nothing outside of DIR is served: paths
-- with `..` are refused, encoded or not, and symbolic links inside DIR are not followed.

local CHUNK_BYTES = 256 * 1024
local HEAD_BYTES_MAX = 16 * 1024
local IDLE_SECONDS = 30 -- for the next head to be complete
local SEND_SECONDS = 60 -- for a chunk to be taken

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
  [404] = "Not Found",
  [405] = "Method Not Allowed",
  [416] = "Range Not Satisfiable",
  [431] = "Request Header Fields Too Large",
  [500] = "Internal Server Error",
  [505] = "HTTP Version Not Supported",
}

local directory, port = arg[1], math.tointeger(tonumber(arg[2]))
if not directory or not port then
  stderr:print("usage: corella run serve.lua DIR PORT\n")
  os.exit(2)
end
if fs.stat(directory).kind ~= "directory" then
  stderr:print(directory, " is not a directory\n")
  os.exit(2)
end

-- Answers.

local function send(connection, text)
  connection.socket:send(text, { deadline = SEND_SECONDS })
end

local function send_head(connection, code, fields)
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
    if entry.kind == "file" or entry.kind == "directory" then
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
    return send_error(connection, 404)
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
  local searched = 1
  while true do
    local first, last = connection.received:find("\r?\n\r?\n", searched)
    if first then
      local head = connection.received:sub(1, first - 1)
      connection.received = connection.received:sub(last + 1)
      return head
    elseif #connection.received > HEAD_BYTES_MAX then
      return nil, 431
    end
    searched = math.max(1, #connection.received - 3)
    local more = connection.socket:recv(4096, { deadline = math.max(0, limit - Scheduler.now()) })
    if more == "" then
      return nil, connection.received:find("%S") and 400 or nil
    end
    connection.received = (connection.received .. more):gsub("^[\r\n]+", "")
  end
end

-- Reads a head into the connection; false where it is malformed.
local function parse(connection, head)
  local first, rest = head:match("^([^\r\n]*)\r?\n?(.*)$")
  connection.method, connection.target, connection.version = first:match("^(%u+) (%S+) HTTP/(%d%.%d)$")
  connection.fields = {}
  if not connection.method then
    return false
  end
  for line in rest:gmatch("[^\r\n]+") do
    local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):%s*(.-)%s*$")
    if not name then
      return false
    end
    connection.fields[name:lower()] = value
  end
  local wish = (connection.fields["connection"] or ""):lower()
  connection.keeps = connection.version == "1.1" and not wish:find("close") or wish:find("keep-alive", 1, true) ~= nil
  -- A body is not read, so nothing can follow it.
  if connection.fields["transfer-encoding"] or (connection.fields["content-length"] or "0") ~= "0" then
    connection.keeps = false
  end
  return connection.version ~= "1.1" or connection.fields["host"] ~= nil
end

local function answer(connection)
  if connection.version:sub(1, 2) ~= "1." then
    connection.keeps = false
    return send_error(connection, 505)
  elseif connection.method ~= "GET" and connection.method ~= "HEAD" then
    return send_error(connection, 405, "Allow: GET, HEAD")
  end
  local raw = connection.target:match("^/[^?#]*") or connection.target:match("^http://[^/]+(/[^?#]*)")
  local decoded = raw and decode(raw)
  if not decoded or decoded:find("\0", 1, true) then
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
    return send_error(connection, 301, "Location: /" .. raw:gsub("^/+", "") .. "/")
  end
  local ok, index = pcall(fs.lstat, path .. "/index.html")
  if ok and index.kind == "file" then
    return send_file(connection, path .. "/index.html", index)
  end
  send_listing(connection, path, decoded)
end

local function serve(socket)
  local socket <close> = socket
  local connection = { socket = socket, received = "", keeps = true }
  while connection.keeps do
    local head, code = read_head(connection)
    if head and not parse(connection, head) then
      code = 400
    end
    if code then
      connection.keeps = false
      send_error(connection, code)
    elseif head then
      answer(connection)
    else
      return
    end
  end
end

local listener = Socket.listen("127.0.0.1", port)
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
