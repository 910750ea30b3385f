/** The first words to a person who has started the service: where it is, and what to type next. Pure. */

export interface Started {
  /** Queues whose jobs the service takes. */
  queues: readonly string[];
  address: string | undefined;
  embedded: { url: string; kind: string } | undefined;
  /** Runs from a clone of the repository, which has the demonstration; the npm package has not. */
  hasDemo: boolean;
}

type Style = 'bold' | 'cyan';

/** @param styled a text as the terminal shows it */
export function greeting(
  { queues, address, embedded, hasDemo }: Started,
  styled: (style: Style, text: string) => string,
): string {
  const redis = embedded
    ? `${embedded.url} (${embedded.kind}, brought along)`
    : 'the one you named';
  return [
    '',
    `  ${styled('bold', 'Holdfast is running.')}  Redis: ${redis}`,
    ...(address ? [`  HTTP: ${address}`] : []),
    '',
    '  In a second terminal, type:',
    ...[...firstJob(queues), 'npx holdfast status'].map((line) => `    ${styled('cyan', line)}`),
    '',
    `  Ctrl-C stops it.${hasDemo ? ' To see it survive an outage: npm run demo' : ''}`,
    '',
  ].join('\n');
}

/** A job for a queue that runs: `faq` answers a question that anybody has, of others the data is not known. */
function firstJob(queues: readonly string[]): string[] {
  if (queues.includes('faq')) {
    return [`npx holdfast enqueue faq '{"question":"What do I do when Redis is down?"}' --wait`];
  }
  // What comes with Holdfast works for other queues: one's own is the one to try.
  const queue = queues.find((name) => name !== 'webhook' && name !== 'steps') ?? queues[0];
  if (queue === undefined) return [];
  return [
    `npx holdfast enqueue ${quoted(queue)} '{}' --wait   # {}: the data that its handler takes`,
  ];
}

function quoted(word: string): string {
  return /^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
