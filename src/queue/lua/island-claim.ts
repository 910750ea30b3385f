/**
 * Takes a job that ran from the journal, in one transaction with its add, so that nobody else takes it
 * between the two: it is active under our lock, as if it had been taken from Redis when it began.
 *
 *   KEYS  1 wait  2 paused  3 active  4 prioritized  5 delayed
 *   ARGV  1 key prefix of the queue ("bull:q:")  2 id  3 token  4 timestamp  5 ats  6 atm
 *         7 lock's life (ms)  8 processedOn (ms since the epoch), or 0
 *
 * Another job of this id, or one that was started as often already, is left alone.
 */
export const ISLAND_CLAIM = `
local jobKey, id, ats = ARGV[1] .. ARGV[2], ARGV[2], tonumber(ARGV[5])
local f = redis.call('HMGET', jobKey, 'timestamp', 'ats')
if not f[1] or tonumber(f[1]) ~= tonumber(ARGV[4]) or tonumber(f[2] or '0') >= ats then return 0 end
redis.call('LREM', KEYS[1], 0, id)
redis.call('LREM', KEYS[2], 0, id)
redis.call('ZREM', KEYS[4], id)
redis.call('ZREM', KEYS[5], id)
redis.call('LPUSH', KEYS[3], id)
redis.call('SET', jobKey .. ':lock', ARGV[3], 'PX', ARGV[7])
redis.call('HSET', jobKey, 'ats', ats)
if tonumber(ARGV[6]) > 0 then redis.call('HSET', jobKey, 'atm', ARGV[6]) end
if ARGV[8] ~= '0' then redis.call('HSET', jobKey, 'processedOn', ARGV[8]) end
return 1
`;

export const ISLAND_CLAIM_KEY_COUNT = 5;
