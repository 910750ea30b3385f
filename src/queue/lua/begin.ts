/**
 * A Lua function for scripts that give a job which was just added to the run that it has had here: active
 * under that run's lock, wherever the add has put it.
 *
 *   KEYS  1 wait  2 paused  3 active  4 prioritized  5 delayed  6 waiting-children
 */
export const BEGIN = `local function begin(jobKey, id, token, ats, lockMs)
  redis.call('LREM', KEYS[1], 0, id)
  redis.call('LREM', KEYS[2], 0, id)
  redis.call('ZREM', KEYS[4], id)
  -- its time had come when it ran: BullMQ says so when it promotes a job
  if redis.call('ZREM', KEYS[5], id) == 1 then redis.call('HSET', jobKey, 'delay', 0) end
  -- a parent that ran had its children's results: their outcomes come back too
  redis.call('ZREM', KEYS[6], id)
  redis.call('LPUSH', KEYS[3], id)
  redis.call('SET', jobKey .. ':lock', token, 'PX', lockMs)
  redis.call('HSET', jobKey, 'ats', ats)
end
`;

/** Names of {@link BEGIN}'s keys, in its order. */
export const BEGIN_KEYS = [
  'wait',
  'paused',
  'active',
  'prioritized',
  'delayed',
  'waiting-children',
] as const;
