-- Decides inside the gateway whether a request may reach its service.
--
-- The route's metadata maps the SHA-256 of each token that opens it to `subject|expires_at`
-- (seconds since the epoch, 0 means never). Nothing else is asked, so that authorization
-- works while the control plane is away.

local bit = require("bit")
local band, bxor, bnot, rol, ror = bit.band, bit.bxor, bit.bnot, bit.rol, bit.ror
local rshift, tobit, tohex = bit.rshift, bit.tobit, bit.tohex
local byte, char, rep = string.byte, string.char, string.rep

local LONGEST_TOKEN = 512
local MOST_REMEMBERED = 4096

local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local W = {}

local function compress(text, at, h)
  for i = 1, 16 do
    local p, q, r, s = byte(text, at + i * 4 - 4, at + i * 4 - 1)
    W[i] = tobit(p * 16777216 + q * 65536 + r * 256 + s)
  end
  for i = 17, 64 do
    local x, y = W[i - 15], W[i - 2]
    W[i] = tobit(bxor(ror(x, 7), ror(x, 18), rshift(x, 3)) + W[i - 7]
      + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)) + W[i - 16])
  end
  local a, b, c, d, e, f, g, k = h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
  for i = 1, 64 do
    local one = tobit(k + bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      + bxor(band(e, f), band(bnot(e), g)) + K[i] + W[i])
    local two = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      + bxor(band(a, b), band(a, c), band(b, c)))
    k, g, f, e, d, c, b, a = g, f, e, tobit(d + one), c, b, a, tobit(one + two)
  end
  h[1], h[2], h[3], h[4] = tobit(h[1] + a), tobit(h[2] + b), tobit(h[3] + c), tobit(h[4] + d)
  h[5], h[6], h[7], h[8] = tobit(h[5] + e), tobit(h[6] + f), tobit(h[7] + g), tobit(h[8] + k)
end

local function sha256(text)
  local bits = #text * 8
  local padded = text .. "\128" .. rep("\0", (55 - #text) % 64) .. "\0\0\0\0"
    .. char(rshift(bits, 24), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
  local h = {
    0x6a09e667, tobit(0xbb67ae85), 0x3c6ef372, tobit(0xa54ff53a),
    0x510e527f, tobit(0x9b05688c), 0x1f83d9ab, 0x5be0cd19,
  }
  for at = 1, #padded, 64 do compress(padded, at, h) end
  return tohex(h[1]) .. tohex(h[2]) .. tohex(h[3]) .. tohex(h[4])
    .. tohex(h[5]) .. tohex(h[6]) .. tohex(h[7]) .. tohex(h[8])
end

-- Digests of tokens that opened something, so that a client's next request costs one look-up.
-- What is remembered never opens anything by itself: the route's keys are asked every time.
local remembered, count = {}, 0

local function remember(token, digest)
  if remembered[token] then return end
  if count >= MOST_REMEMBERED then remembered, count = {}, 0 end
  remembered[token], count = digest, count + 1
end

local function token_of(headers)
  local value = headers:get("authorization")
  if value then
    local token = value:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$")
    if token then return token end
  end
  return headers:get("x-api-key")
end

local function turn_away(handle, message)
  handle:respond({[":status"] = "401", ["www-authenticate"] = "Bearer"}, message)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local token = token_of(headers)
  if not token or token == "" then
    return turn_away(handle, "this service needs a token: send `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`")
  end
  local entry, digest
  if #token <= LONGEST_TOKEN then
    digest = remembered[token] or sha256(token)
    entry = handle:metadata():get(digest)
  end
  if entry then
    local subject, expires = entry:match("^(.*)|(%d+)$")
    expires = tonumber(expires)
    if subject and (expires == 0 or expires > os.time()) then
      remember(token, digest)
      headers:replace("x-modelyard-subject", subject)
      return
    end
  end
  turn_away(handle, "the token does not open this service: it is unknown or has expired")
end
