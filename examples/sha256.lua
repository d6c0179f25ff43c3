-- SHA-256 (FIPS 180-4), piece by piece.
--
--   local sum = require("sha256").new()
--   sum:update("abc")
--   print(sum:hex())

local sha256 = {}

-- The first 32 bits of the fractional parts of roots of the first primes, as the standard has it.
local constants, initial = {}, {}
do
  local function fraction_bits(root)
    return math.floor((root - math.floor(root)) * 0x100000000)
  end
  local candidate, count = 2, 0
  while count < 64 do
    local is_prime = true
    for divisor = 2, math.floor(candidate ^ 0.5) do
      is_prime = is_prime and candidate % divisor ~= 0
    end
    if is_prime then
      count = count + 1
      constants[count] = fraction_bits(candidate ^ (1 / 3))
      initial[count] = count <= 8 and fraction_bits(candidate ^ 0.5) or nil
    end
    candidate = candidate + 1
  end
end

local Sum = {}
Sum.__index = Sum

function sha256.new()
  return setmetatable({ state = table.move(initial, 1, 8, 1, {}), rest = "", length = 0 }, Sum)
end

local words = {}
local block_format <const> = ">" .. ("I4"):rep(16)

local function digest_block(state, data, place)
  local w = words
  w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16] =
    string.unpack(block_format, data, place)
  for t = 17, 64 do
    -- A word twice beside itself: what a rotation brings to the front is there with a shift alone.
    local x, y = w[t - 15], w[t - 2]
    local xx, yy = x << 32 | x, y << 32 | y
    w[t] = (w[t - 16] + (xx >> 7 ~ xx >> 18 ~ x >> 3) + w[t - 7] + (yy >> 17 ~ yy >> 19 ~ y >> 10)) & 0xffffffff
  end
  local a, b, c, d, e, f, g, h = table.unpack(state, 1, 8)
  for t = 1, 64 do
    local ee, aa = e << 32 | e, a << 32 | a
    local first = h + ((ee >> 6 ~ ee >> 11 ~ ee >> 25) & 0xffffffff) + (e & f ~ ~e & g) + constants[t] + w[t]
    local second = ((aa >> 2 ~ aa >> 13 ~ aa >> 22) & 0xffffffff) + (a & b ~ a & c ~ b & c)
    h, g, f, e, d, c, b, a = g, f, e, d + first & 0xffffffff, c, b, a, first + second & 0xffffffff
  end
  local values = { a, b, c, d, e, f, g, h }
  for index = 1, 8 do
    state[index] = state[index] + values[index] & 0xffffffff
  end
end

function Sum:update(data)
  self.length = self.length + #data
  data = self.rest .. data
  local place = 1
  while place + 63 <= #data do
    digest_block(self.state, data, place)
    place = place + 64
  end
  self.rest = data:sub(place)
  return self
end

-- The sum of all that there was, as text. Nothing can be added after it.
function Sum:hex()
  local bits = self.length * 8
  local zeros = (55 - self.length) % 64
  self:update("\x80" .. ("\0"):rep(zeros) .. string.pack(">I8", bits))
  return (("%08x"):rep(8)):format(table.unpack(self.state, 1, 8))
end

return sha256
