/**
 * Gives jobs that are added again after a rollback to the workers that ran them: the dataset forgot the
 * add, the run and perhaps the outcome, but the worker lives and knows. Runs in one transaction or in one
 * script with the add, so that nobody else takes the job between the two.
 *
 *   KEYS  1 to 7 of `begin.ts`  8 ran
 *   ARGV  1 key prefix of the queue ("bull:q:")  2… job ids; none: every forgotten run of a schedule
 *
 * `ran` is a hash that `retake.ts` fills: id → JSON of [token, timestamp, ats, lockMs, processId]. What is given
 * is told to that process in a list beside it, `given:<processId>`: it need not look for all that it misses.
 */
import { BEGIN, BEGIN_KEYS } from './begin.ts';

/** Its process reads it several times a second, unless it is cut off, ms. */
const GIVEN_KEEP_MS = 10 * 60_000;

export const CLAIM = `${BEGIN}
local prefix = ARGV[1]
local ids = {}
for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then
  for _, id in ipairs(redis.call('HKEYS', KEYS[8])) do
    if string.sub(id, 1, 7) == 'repeat:' then ids[#ids + 1] = id end
  end
end
for _, id in ipairs(ids) do
  local known = redis.call('HGET', KEYS[8], id)
  if known then
    local token, timestamp, ats, lockMs, processId = unpack(cjson.decode(known))
    local jobKey = prefix .. id
    local f = redis.call('HMGET', jobKey, 'timestamp', 'ats')
    if f[1] and tonumber(f[1]) == timestamp and tonumber(f[2] or '0') < ats then
      begin(jobKey, id, token, ats, lockMs)
      local given = string.sub(KEYS[8], 1, -4) .. 'given:' .. processId
      redis.call('RPUSH', given, id)
      redis.call('PEXPIRE', given, ${GIVEN_KEEP_MS})
    end
  end
end
return 0
`;

export const CLAIM_KEY_COUNT = BEGIN_KEYS.length + 1;

/**
 * A numbered script of BullMQ's that adds one job, and the claim of that job, as one script.
 *
 *   KEYS[last-8…]  the series' key, then those of {@link CLAIM}
 *   ARGV[last-3…]  the two of `NUMBERED_PRELUDE`, then key prefix and job id
 */
export function numberedAndClaimed(numberedPrelude: string, script: string): string {
  return `local claimKeys, claimArgs = {}, { ARGV[#ARGV - 1], ARGV[#ARGV] }
ARGV[#ARGV] = nil
ARGV[#ARGV] = nil
for i = ${CLAIM_KEY_COUNT}, 1, -1 do
  claimKeys[i] = KEYS[#KEYS]
  KEYS[#KEYS] = nil
end
${numberedPrelude}
local function add()
${script}
end
local function claim(KEYS, ARGV)
${CLAIM}
end
local reply = add()
claim(claimKeys, claimArgs)
return reply
`;
}
