/**
 * Whether a queue's keys are what BullMQ takes them for; nothing is changed.
 *
 *   KEYS  keys of the queue   ARGV  the type of each
 *
 * Returns nothing, or of the first that is of another type [key, its type, the type that it should have].
 */
export const KEY_TYPES = `
for i, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key)['ok']
  if type and type ~= 'none' and type ~= ARGV[i] then return { key, type, ARGV[i] } end
end
return false
`;
