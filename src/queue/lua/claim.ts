/**
 * Gives jobs that are added again after a rollback to the workers that ran them: the dataset forgot the
 * add, the run and perhaps the outcome, but the worker lives and knows. Runs in one transaction with the
 * add, so that nobody else takes the job between the two.
 *
 *   KEYS  1 wait  2 paused  3 active  4 prioritized  5 delayed  6 waiting-children  7 ran
 *   ARGV  1 key prefix of the queue ("bull:q:")  2… job ids; none: every forgotten run of a schedule
 *
 * `ran` is a hash that `retake.ts` fills: id → JSON of [token, timestamp, ats, lockMs].
 */
export const CLAIM = `
local prefix = ARGV[1]
local ids = {}
for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then
  for _, id in ipairs(redis.call('HKEYS', KEYS[7])) do
    if string.sub(id, 1, 7) == 'repeat:' then ids[#ids + 1] = id end
  end
end
for _, id in ipairs(ids) do
  local known = redis.call('HGET', KEYS[7], id)
  if known then
    local token, timestamp, ats, lockMs = unpack(cjson.decode(known))
    local jobKey = prefix .. id
    local f = redis.call('HMGET', jobKey, 'timestamp', 'ats')
    if f[1] and tonumber(f[1]) == timestamp and tonumber(f[2] or '0') < ats then
      redis.call('LREM', KEYS[1], 0, id)
      redis.call('LREM', KEYS[2], 0, id)
      redis.call('ZREM', KEYS[4], id)
      redis.call('ZREM', KEYS[5], id)
      -- a parent that ran had its children's results: their outcomes come back too
      redis.call('ZREM', KEYS[6], id)
      redis.call('LPUSH', KEYS[3], id)
      redis.call('SET', jobKey .. ':lock', token, 'PX', lockMs)
      redis.call('HSET', jobKey, 'ats', ats)
    end
  end
end
return 0
`;

export const CLAIM_KEY_COUNT = 7;
