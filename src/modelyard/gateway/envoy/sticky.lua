-- Knows a client by a cookie, and gives one to a client that has none.
--
-- The route's metadata names the cookie and how long it is kept. Its value becomes a header of the
-- request, by which the route then chooses among its weighted clusters; it says nothing else.

local urandom = io.open("/dev/urandom", "rb")
local CLIENT = "x-modelyard-client"

local function fresh()
  return (urandom:read(16):gsub(".", function(c) return string.format("%02x", string.byte(c)) end))
end

local function value_of(headers, name)
  for i = 0, headers:getNumValues("cookie") - 1 do
    for pair in headers:getAtIndex("cookie", i):gmatch("[^;]+") do
      local key, value = pair:match("^%s*([^=]+)=(.-)%s*$")
      if key == name and #value >= 16 and #value <= 64 and not value:find("[^%w-]") then return value end
    end
  end
end

function envoy_on_request(handle)
  local headers, route = handle:headers(), handle:metadata()
  local value = value_of(headers, route:get("name"))
  if not value then
    value = fresh()
    local kept = handle:streamInfo():dynamicMetadata()
    kept:set("modelyard.sticky", "new", value)
    kept:set("modelyard.sticky", "name", route:get("name"))
    kept:set("modelyard.sticky", "ttl", route:get("ttl"))
  end
  headers:replace(CLIENT, value)
  handle:clearRouteCache()
end

function envoy_on_response(handle)
  local kept = handle:streamInfo():dynamicMetadata():get("modelyard.sticky")
  if not kept or not kept["new"] then return end
  local attributes = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=" .. kept["ttl"]
  handle:headers():add("set-cookie", kept["name"] .. "=" .. kept["new"] .. attributes)
end
