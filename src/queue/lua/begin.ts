/**
 * A Lua function for scripts that give a job which was just added to the run that it has had here: active
 * under that run's lock, wherever the add has put it.
 *
 *   KEYS  1 wait  2 paused  3 active  4 prioritized  5 delayed  6 waiting-children  7 events
 *
 * Whoever listens hears what BullMQ says when it gives a job to a worker.
 *
 * An add puts a job at an end of a list. Looking there first keeps a long backlog from being searched for
 * each job: with 50,000 waiting that took 2 ms.
 */
export const BEGIN = `local function leaveList(id)
  for list = 1, 2 do
    if redis.call('LINDEX', KEYS[list], 0) == id then return redis.call('LPOP', KEYS[list]) end
    if redis.call('LINDEX', KEYS[list], -1) == id then return redis.call('RPOP', KEYS[list]) end
  end
  -- behind others of its flow, or it was there before
  if redis.call('LREM', KEYS[1], 1, id) == 0 then redis.call('LREM', KEYS[2], 1, id) end
end
local function tell(event, id, prev)
  redis.call('XADD', KEYS[7], '*', 'event', event, 'jobId', id, 'prev', prev)
end
local function begin(jobKey, id, token, ats, lockMs)
  if redis.call('ZREM', KEYS[5], id) == 1 then
    -- its time had come when it ran: BullMQ says so when it promotes a job
    redis.call('HSET', jobKey, 'delay', 0)
    tell('waiting', id, 'delayed')
  elseif redis.call('ZREM', KEYS[6], id) == 1 then
    -- a parent that ran had its children's results: their outcomes come back too
    tell('waiting', id, 'waiting-children')
  elseif redis.call('ZREM', KEYS[4], id) == 0 then
    leaveList(id)
  end
  redis.call('LPUSH', KEYS[3], id)
  redis.call('SET', jobKey .. ':lock', token, 'PX', lockMs)
  redis.call('HSET', jobKey, 'ats', ats)
  tell('active', id, 'waiting')
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
  'events',
] as const;
