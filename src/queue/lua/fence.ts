/**
 * The prelude that stands before each of BullMQ's own scripts when a process of ours runs it.
 *
 *   KEYS[last]    the epoch key of this process in this queue
 *   ARGV[last-1]  server time (ms) by which the script must run
 *   ARGV[last]    the epoch it was sent in
 *
 * Returns an error that begins with FENCED, and does nothing, when the command comes late (it slept
 * in a frozen server's buffer or in the network after its sender gave up) or from an epoch that a
 * recovery has ended. Atomic with the script itself, since both are one script. All that it added is
 * taken away again, because some scripts read a variable number of arguments.
 *
 * Touches no key of BullMQ's. TIME before writes needs Redis >= 5 (effects replication).
 */
export const FENCE_PRELUDE = `do
  local n, k = #ARGV, #KEYS
  local epoch, deadline, epochKey = ARGV[n], tonumber(ARGV[n - 1]), KEYS[k]
  ARGV[n] = nil
  ARGV[n - 1] = nil
  KEYS[k] = nil
  local t = redis.call('TIME')
  if t[1] * 1000 + math.floor(t[2] / 1000) > deadline then
    return redis.error_reply('FENCED late')
  end
  if redis.call('GET', epochKey) ~= epoch then
    return redis.error_reply('FENCED epoch')
  end
end
`;

/** A number's key outlives every outage worth waiting for, seconds: a week. */
export const NUMBER_SECONDS = 7 * 24 * 3600;
/** Its life is made longer once in so many adds, for each of them it would cost a command; and see `series-keys.ts`. */
const NUMBER_RENEWED_EVERY = 1000;

/**
 * Another fence, for adds: a number. The script acts only if the last one of its series that acted is
 * the one before it, and then stands as the last. Redis answers from the dataset that also has the
 * jobs, so the key's value tells after any outage, restart or rollback which requests acted (as in
 * Kafka's idempotent producer). It needs neither deadline nor epoch: a request that slept acts at its
 * place in the series or not at all.
 *
 *   KEYS[last]    the series' key
 *   ARGV[last-1]  the number before; ARGV[last]: this number. Both the same: one of a transaction
 *                 before its last script, which moves the number for all of them
 */
export const NUMBERED_PRELUDE = `do
  local n, k = #ARGV, #KEYS
  local number, before, key = ARGV[n], ARGV[n - 1], KEYS[k]
  ARGV[n] = nil
  ARGV[n - 1] = nil
  KEYS[k] = nil
  if number - before == 1 then
    local last = redis.call('INCR', key)
    if last ~= tonumber(number) then
      redis.call('DECR', key)
      return redis.error_reply('FENCED number ' .. last - 1)
    end
    if last % ${NUMBER_RENEWED_EVERY} == 1 then
      redis.call('EXPIRE', key, ${NUMBER_SECONDS})
    end
  else
    local last = redis.call('GET', key) or '0'
    if last ~= before then
      return redis.error_reply('FENCED number ' .. last)
    end
    if number ~= before then
      redis.call('SET', key, number, 'EX', ${NUMBER_SECONDS})
    end
  end
end
`;

/** Why a fenced script did nothing, or undefined for any other error. */
export function fencedReason(error: unknown): 'late' | 'epoch' | 'number' | undefined {
  if (!(error instanceof Error)) return undefined;
  const match = /FENCED (late|epoch|number)/.exec(error.message);
  return match ? (match[1] as 'late' | 'epoch' | 'number') : undefined;
}
