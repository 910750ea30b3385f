/**
 * Several scripts, BullMQ's and ours, as one under one number: all of them act, in their order, or none,
 * and nobody comes between two. A job that ran from the journal is added, taken for its run here and, if it
 * has ended, settled in one step; so Redis never has the job without what became of it.
 *
 *   KEYS  1 the series' key
 *   ARGV  of each script: its name, how many keys and how many arguments, the keys, the arguments;
 *         last, the two of `NUMBERED_PRELUDE`
 *
 * Returns what the first answers, or what another answers that refuses (below 0). Ends early, as if all had
 * acted, where the job is not this run's (`island-claim.ts` answers 0).
 */

/** @param scripts by the names under which they are called */
export function together(numberedPrelude: string, scripts: ReadonlyMap<string, string>): string {
  const functions = [...scripts].map(
    ([name, lua]) => `scripts['${name}'] = function(KEYS, ARGV)\n${lua}\nend`,
  );
  return `${numberedPrelude}
local scripts = {}
${functions.join('\n')}
local at, first = 1, nil
while at <= #ARGV do
  local name, keyCount, argCount = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local keys, args = {}, {}
  at = at + 3
  for i = 1, keyCount do
    keys[i] = ARGV[at]
    at = at + 1
  end
  for i = 1, argCount do
    args[i] = ARGV[at]
    at = at + 1
  end
  local reply = scripts[name](keys, args)
  if first == nil then first = reply end
  if type(reply) == 'number' and reply < 0 then return reply end
  if name == 'island-claim' and reply == 0 then return first end
end
return first
`;
}
