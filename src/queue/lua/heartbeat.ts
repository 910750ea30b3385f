/**
 * A sign of life of this process in its queues, in one round trip, and the server's clock.
 *
 *   KEYS  for each queue: members, epoch of this process, BullMQ's stalled-check
 *   ARGV  1 member  2 ms to keep our keys  3 ms after which a silent member no longer counts
 *         then for each queue: ms for which plain BullMQ workers leave stalled jobs to us (0: not)
 *
 * Returns seconds and microseconds of the server's clock, then for each queue the number of members
 * alive; an error that begins with FENCED when our epoch is gone. Atomic only for economy.
 */
export const HEARTBEAT_KEYS_EACH = 3;

export const HEARTBEAT = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply = { t[1], t[2] }
for queue = 1, #KEYS / ${HEARTBEAT_KEYS_EACH} do
  local at = (queue - 1) * ${HEARTBEAT_KEYS_EACH}
  local members, epoch, check = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
  local guard = ARGV[3 + queue]
  -- first: a full memory is told by the first write alone, and by none that needs no memory
  redis.call('ZADD', members, now, ARGV[1])
  -- a recovery set it: without it this is not the dataset that we knew
  if redis.call('PEXPIRE', epoch, ARGV[2]) == 0 then return redis.error_reply('FENCED epoch') end
  redis.call('PEXPIRE', members, ARGV[2])
  if tonumber(guard) > 0 then redis.call('SET', check, now, 'PX', guard) end
  reply[#reply + 1] = redis.call('ZCOUNT', members, now - tonumber(ARGV[3]), '+inf')
end
return reply
`;
