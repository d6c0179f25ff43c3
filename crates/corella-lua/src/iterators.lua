-- Iterators: what is left of a handle, a connection, a channel or a directory, one after the other.
local raw = ...

local error, sub, tointeger = error, string.sub, math.tointeger
local next_record, readline = raw.next_record, raw.readline
local iterators = {}

-- A record without its end.
local function cut_off(line, ending)
  if line == "" then
    return nil
  end
  return sub(line, -#ending) == ending and sub(line, 1, -1 - #ending) or line
end

-- Records without their ends, as `io.lines` gives lines.
function iterators.lines(handle, separator)
  local ending = separator or handle:record_separator()
  if separator then
    return function()
      return cut_off(readline(handle, separator), ending)
    end
  end
  local loan = { 0 }
  return function()
    local place = loan[1]
    local line = loan[place]
    if line then
      loan[1] = place + 1
      return line
    end
    line, loan = next_record(handle, true)
    if line then
      return line
    end
    loan = { 0 }
    return cut_off(readline(handle), ending)
  end
end

function iterators.lines_of_socket(socket, separator)
  return function()
    return cut_off(socket:readline(separator), separator or "\n")
  end
end

-- What is left in pieces of so many characters; the last may have fewer.
function iterators.blocks(handle, length)
  local count = tointeger(length)
  if not count or count < 1 then
    error("bad argument #1 to 'blocks' (length: a positive integer is expected)", 2)
  end
  return function()
    local block = handle:read(count)
    return block ~= "" and block or nil
  end
end

-- What a channel gives until it is closed.
function iterators.values(channel)
  return function()
    return channel:receive()
  end
end

-- What is left of a directory.
function iterators.entries(directory)
  return function()
    return directory:readdir()
  end
end

return iterators
