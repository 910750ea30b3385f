/**
 * Takes back what is ours, in one atomic step, before anybody may take or recover work.
 *
 *   KEYS  1 wait  2 paused  3 active  4 prioritized  5 delayed  6 stalled  7 completed  8 failed
 *         9 waiting-children  10 meta  11 marker  12 epoch  13 members  14 our stalled-check  15 barrier
 *         16 the barrier's server  17 recovered  18 BullMQ's stalled-check  19 ran
 *   ARGV  1 key prefix of the queue ("bull:q:")   2 JSON of the request:
 *         { jobs = [[id, token, timestamp, ats, atm, mode, lockMs, alias, stc]…], doubtful = [token…],
 *           handBack = [[id, token]…], skip (pulled by the scripts before), isFirst (0|1), isLast (0|1), epoch, beginsEpoch (0|1), processId,
 *           member, server, ranMs, identityChanged (0|1), expired (0|1: an own lock had expired),
 *           holdMs, barrierMs, guardMs, keepMs, aliveFrom, deadline }
 *   mode  'held' in flight here, 'unsettled' finished here and not yet in Redis,
 *         'settled' finished here within the rollback window
 *
 * Many jobs come in several scripts, so that none blocks Redis for long. The first does what must be done before
 * anything else: the epoch, the hold. The last says that this member is back. Which jobs a token in doubt
 * holds is seen by the first; whether one of them is ours is known by the last, which hands them back.
 *
 * Returns [verdicts, handedBack, barrier's PTTL, epoch found before, members alive, inDoubt = [[id, token]…]];
 * an error that begins with FENCED, having done nothing, when it comes late or when its epoch is over.
 * A verdict is one of
 *   kept      was active and free or ours: locked by us again
 *   pulled    had gone back to a state before we took it: active and locked by us again
 *   settled   its outcome is in Redis
 *   foreign   another worker has or had it since: hands off
 *   replaced  the id belongs to another job now
 *   missing   no such job
 *
 * One script, because between "is it free" and "take it" nobody else may come. Known good with the
 * keys of BullMQ 6.7; test/integration/retake.test.ts fails when their meaning changes.
 */

/** So long after a change of identity it is known who is not back yet, and the barrier may rise again, ms. */
const BARRIER_AGAIN_MS = 60_000;

export const RETAKE = `
local prefix = ARGV[1]
local q = cjson.decode(ARGV[2])
local t = redis.call('TIME')
local serverNow = t[1] * 1000 + math.floor(t[2] / 1000)
if serverNow > q.deadline then return redis.error_reply('FENCED late') end

-- This script slept while a later one began another epoch, or the dataset is not the one it asks about.
local before = redis.call('GET', KEYS[12])
local function number(epoch) return tonumber(string.match(epoch, ':(%d+)$') or '0') end
if q.beginsEpoch == 1 then
  if before and number(before) > number(q.epoch) then return redis.error_reply('FENCED epoch') end
elseif before ~= q.epoch then
  return redis.error_reply('FENCED epoch')
end

local wait, paused, active, prioritized, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local stalled, completed, failed, waitingChildren = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local metaKey, markerKey = KEYS[10], KEYS[11]

-- Read only if it must be, without what the scripts before this one have put in front.
local activeIds
local function isActive(id)
  if not activeIds then
    activeIds = {}
    for _, each in ipairs(redis.call('LRANGE', active, q.skip, -1)) do activeIds[each] = true end
  end
  return activeIds[id]
end

local mine = {}
local verdicts = {}

local function take(id, token, ats, lockMs, stalls)
  local jobKey = prefix .. id
  redis.call('SET', jobKey .. ':lock', token, 'PX', lockMs)
  redis.call('HSET', jobKey, 'ats', ats)
  redis.call('HDEL', jobKey, 'defa')
  -- its worker lives: what was counted since then was no crash
  if (tonumber(redis.call('HGET', jobKey, 'stc') or '0') or 0) > stalls then
    redis.call('HSET', jobKey, 'stc', stalls)
  end
  redis.call('SREM', stalled, id)
end

for i, job in ipairs(q.jobs) do
  local id, token, timestamp, ats, atm, mode, lockMs, alias, stalls =
    job[1], job[2], job[3], job[4], job[5], job[6], job[7], job[8], job[9]
  local jobKey = prefix .. id
  local f = redis.call('HMGET', jobKey, 'timestamp', 'ats', 'atm')
  local storedAts, storedAtm = tonumber(f[2] or '0'), tonumber(f[3] or '0')
  local lock = f[1] and redis.call('GET', jobKey .. ':lock')
  local verdict
  if not f[1] then
    verdict = redis.call('EXISTS', jobKey) == 1 and 'replaced' or 'missing'
    if verdict == 'missing' and q.identityChanged == 1 then
      -- its producer may add it again: then it is ours, see claim.ts
      redis.call('HSET', KEYS[19], id, cjson.encode({ token, timestamp, ats, lockMs, q.processId }))
      redis.call('PEXPIRE', KEYS[19], q.ranMs)
    end
  elseif tonumber(f[1]) ~= timestamp then
    verdict = 'replaced'
  elseif storedAts > ats then
    verdict = 'foreign'
  elseif lock and (lock == token or lock == alias) and storedAts == ats then
    -- what is locked is active
    take(id, token, ats, lockMs, stalls)
    verdict = 'kept'
  elseif isActive(id) then
    if lock and lock ~= token and lock ~= alias and storedAts == ats then
      verdict = 'foreign'
    else
      take(id, token, ats, lockMs, stalls)
      verdict = 'kept'
    end
  elseif redis.call('ZSCORE', completed, id) or redis.call('ZSCORE', failed, id) then
    if storedAts < ats then verdict = 'foreign' else verdict = 'settled' end
  elseif storedAts == ats and redis.call('ZSCORE', waitingChildren, id) then
    -- it asked to wait for its children; with fewer starts stored, the dataset forgot that we ran it
    verdict = 'settled'
  elseif storedAts == ats and storedAtm > atm then
    -- its attempt was recorded: it waits for its next one
    verdict = 'settled'
  elseif storedAts == ats and mode ~= 'held' and redis.call('ZSCORE', delayed, id) then
    verdict = 'settled'
  else
    local found = redis.call('ZREM', prioritized, id) + redis.call('ZREM', delayed, id)
      + redis.call('ZREM', waitingChildren, id)
    -- from the end where jobs are taken: it was there not long ago
    if found == 0 then found = redis.call('LREM', wait, -1, id) end
    if found == 0 then redis.call('LREM', paused, -1, id) end
    redis.call('LPUSH', active, id)
    if activeIds then activeIds[id] = true end
    take(id, token, ats, lockMs, stalls)
    verdict = 'pulled'
  end
  if verdict == 'kept' or verdict == 'pulled' then mine[id] = true end
  verdicts[i] = verdict
end

-- Jobs that a request without a reply took for us: nobody runs them, so they go back to the front.
local handedBack, inDoubt = {}, {}
local function handBack(id)
  local jobKey = prefix .. id
  redis.call('DEL', jobKey .. ':lock')
  redis.call('LREM', active, 0, id)
  redis.call('SREM', stalled, id)
  redis.call('HINCRBY', jobKey, 'ats', -1)
  local priority = tonumber(redis.call('HGET', jobKey, 'priority') or '0') or 0
  if priority > 0 then
    redis.call('ZADD', prioritized, priority * 0x100000000, id)
  else
    redis.call('RPUSH', wait, id)
  end
  table.insert(handedBack, id)
end
if #q.doubtful > 0 then
  local doubtful = {}
  for _, token in ipairs(q.doubtful) do doubtful[token] = true end
  isActive('')
  for id, _ in pairs(activeIds) do
    local lock = redis.call('GET', prefix .. id .. ':lock')
    if lock and doubtful[lock] and not mine[id] then
      if q.isLast == 1 then handBack(id) else table.insert(inDoubt, { id, lock }) end
    elseif not lock and not mine[id] and q.isLast == 1 then
      -- Perhaps ours, since its lock ran out in the meantime: found stalled by the next check and not the one
      -- after it, unless its worker takes it back until then.
      redis.call('SADD', stalled, id)
    end
  end
end
for _, one in ipairs(q.handBack) do
  local id, token = one[1], one[2]
  if not mine[id] and redis.call('GET', prefix .. id .. ':lock') == token and isActive(id) then handBack(id) end
end
if #handedBack > 0 and redis.call('HEXISTS', metaKey, 'paused') == 0 then
  redis.call('ZADD', markerKey, 0, '0')
end

-- From here on, what was sent before does nothing any more.
redis.call('SET', KEYS[12], q.epoch, 'PX', q.keepMs)

-- Plain BullMQ workers honour this key: they leave the recovery of stalled jobs to us.
if q.guardMs > 0 then redis.call('SET', KEYS[18], serverNow, 'PX', q.guardMs) end

-- Hold the fleet's stalled checks until the others have taken back theirs; never for ever.
if q.isFirst == 1 and q.holdMs > 0 and (q.expired == 1 or q.identityChanged == 1) then
  local first = redis.call('GET', KEYS[14] .. ':first')
  if not first then
    first = tostring(serverNow)
    redis.call('SET', KEYS[14] .. ':first', first, 'PX', q.holdMs * 12)
  end
  if serverNow - tonumber(first) < q.holdMs * 6 then
    if redis.call('PTTL', KEYS[14]) < q.holdMs then
      redis.call('SET', KEYS[14], serverNow, 'PX', q.holdMs)
    end
  end
end

if q.isLast == 0 then return { verdicts, handedBack, 0, before or '', 0, inDoubt } end

redis.call('ZADD', KEYS[13], serverNow, q.member)
redis.call('ZREMRANGEBYSCORE', KEYS[13], '-inf', serverNow - q.keepMs)
local members = redis.call('ZCOUNT', KEYS[13], q.aliveFrom, '+inf')

-- After a change of identity nobody takes work until all who were alive have taken back theirs. An outage
-- in the meantime may outlast the barrier: who comes back once more raises it again, never for ever.
local knownServer, aliveFrom, since = unpack(redis.call('HMGET', KEYS[16], 'server', 'aliveFrom', 'since'))
if q.identityChanged == 1 and knownServer ~= q.server then
  knownServer, aliveFrom, since = q.server, q.aliveFrom, serverNow
  redis.call('HSET', KEYS[16], 'server', q.server, 'aliveFrom', q.aliveFrom, 'since', serverNow)
  redis.call('PEXPIRE', KEYS[16], q.keepMs)
  redis.call('DEL', KEYS[15], KEYS[17])
end
if knownServer == q.server and serverNow - tonumber(since) < ${BARRIER_AGAIN_MS} then
  redis.call('SADD', KEYS[17], q.member)
  redis.call('PEXPIRE', KEYS[17], ${BARRIER_AGAIN_MS})
  local missing = 0
  -- alive since then: those who must be waited for
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[13], aliveFrom, '+inf')) do
    if redis.call('SISMEMBER', KEYS[17], member) == 0 then missing = missing + 1 end
  end
  if missing == 0 then
    redis.call('DEL', KEYS[15])
  elseif q.barrierMs > 0 then
    redis.call('SET', KEYS[15], q.server, 'PX', q.barrierMs, 'NX')
  end
end
local barrier = redis.call('PTTL', KEYS[15])

return { verdicts, handedBack, barrier, before or '', members, inDoubt }
`;

/** Keys of {@link RETAKE}, in its order, for a queue whose keys are made by `toKey`. */
export const RETAKE_KEY_COUNT = 19;
