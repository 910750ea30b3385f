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

/** Why a fenced script did nothing, or undefined for any other error. */
export function fencedReason(error: unknown): 'late' | 'epoch' | undefined {
  if (!(error instanceof Error)) return undefined;
  const match = /FENCED (late|epoch)/.exec(error.message);
  return match ? (match[1] as 'late' | 'epoch') : undefined;
}
