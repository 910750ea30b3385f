/**
 * The fleet's outage: replicas whose outages overlap, or follow each other closely, get the same id.
 * Whoever asks first gives its own. Times are the server's, so that the clocks of hosts do not matter.
 *
 *   KEYS  1 the last outages of the fleet, a JSON list of { id, from, to }
 *   ARGV  1 own id  2 ms since its start  3 ms that may lie between two outages of one cause
 *         4 outages to remember  5 ms to keep the key
 *
 * Returns the fleet's id. Atomic: two replicas that recover at the same time must not both be first.
 */
export const FLEET_OUTAGE = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local from, gap = now - tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('GET', KEYS[1])
local ok, list = pcall(cjson.decode, known or '[]')
if not ok or type(list) ~= 'table' then list = {} end
local id
for _, outage in ipairs(list) do
  if not id and from <= outage.to + gap and now >= outage.from - gap then
    id = outage.id
    outage.from = math.min(outage.from, from)
    outage.to = math.max(outage.to, now)
  end
end
if not id then
  id = ARGV[1]
  list[#list + 1] = { id = id, from = from, to = now }
  if #list > tonumber(ARGV[4]) then table.remove(list, 1) end
end
redis.call('SET', KEYS[1], cjson.encode(list), 'PX', ARGV[5])
return id
`;

/**
 * Puts a replica's record where the fleet's post-mortem finds it, unless there are enough.
 *
 *   KEYS  1 the records of one outage of the fleet, by replica
 *   ARGV  1 replica and outage  2 record as JSON  3 records to keep  4 ms to keep them
 */
export const SHARE_OUTAGE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
`;
