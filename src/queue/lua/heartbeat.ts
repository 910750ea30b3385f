/**
 * A sign of life of this process in one queue, in one round trip.
 *
 *   KEYS  1 members  2 epoch of this process  3 BullMQ's stalled-check
 *   ARGV  1 member  2 ms to keep our keys  3 ms for which plain BullMQ workers leave stalled jobs to us
 *         (0: not)  4 ms after which a silent member no longer counts
 *
 * Returns the number of members alive. Atomic only for economy.
 */
export const HEARTBEAT = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[3], now, 'PX', ARGV[3]) end
return redis.call('ZCOUNT', KEYS[1], now - tonumber(ARGV[4]), '+inf')
`;

export const HEARTBEAT_KEY_COUNT = 3;
