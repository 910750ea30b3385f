/**
 * Rights: exactly the commands and keys that Holdfast and BullMQ use. Asked with ACL DRYRUN where that is
 * allowed; otherwise each command is tried on a key of our own that is gone a second later.
 */
import { randomUUID } from 'node:crypto';
import { fail, type Judged, pass } from './finding.ts';
import type { Link } from './link.ts';
import { type NeededCommand, neededCommands } from './needed-commands.ts';
import type { Check } from './scene.ts';

export interface Rights {
  /** Whether the user may; or what Redis says instead. */
  refused: readonly { command: string; reason: 'command' | 'key'; reply: string }[];
  asked: number;
  how: 'ACL DRYRUN' | 'tries';
  user: string;
}

/** Cannot be tried alone; whoever may EVAL may these in practice, and DRYRUN knows for sure. */
const NOT_TRIED: ReadonlySet<string> = new Set(['MULTI', 'EXEC', 'RENAME']);

export const acl: Check = {
  name: 'acl',
  label: 'Rights',
  layer: 'redis',
  deadlineMs: 10_000,
  run: async ({ link, target }) => {
    if (link === undefined || target === undefined) return [];
    const { prefix } = target.redis;
    const key = `${prefix}:holdfast:{doctor}:${randomUUID()}`;
    const needed = neededCommands(key, `${key}:2`);
    const rights = (await byDryRun(link, needed)) ?? (await byTrying(link, needed, key));
    return [judgeRights(rights, prefix)];
  },
};

/** Undefined where the user may not ask, or the server is older than Redis 7. */
async function byDryRun(link: Link, needed: readonly NeededCommand[]): Promise<Rights | undefined> {
  const { client } = link.servers()[0]!;
  try {
    const user = String(await link.ask('ACL WHOAMI', client.call('ACL', 'WHOAMI')));
    const replies = await link.ask(
      'ACL DRYRUN',
      Promise.all(
        needed.map(({ name, args }) => client.call('ACL', 'DRYRUN', user, name, ...args)),
      ),
    );
    const refused = replies.flatMap((reply, i) => {
      const text = String(reply);
      if (text === 'OK') return [];
      const reason = /access the|key/i.test(text) ? ('key' as const) : ('command' as const);
      return [{ command: needed[i]!.name, reason, reply: text }];
    });
    return { refused, asked: needed.length, how: 'ACL DRYRUN', user };
  } catch {
    return undefined;
  }
}

async function byTrying(
  link: Link,
  needed: readonly NeededCommand[],
  key: string,
): Promise<Rights> {
  const { client } = link.servers()[0]!;
  const tried = needed.filter(({ name }) => !NOT_TRIED.has(name));
  // All at once: one connection keeps their order, and a slow way is gone only once.
  const replies = await link.ask(
    'the commands that are needed',
    Promise.allSettled(
      tried.map(async ({ name, args }) => {
        const reply = client.call(name, ...args);
        // Types differ from command to command: each begins with nothing.
        client.del(key, `${key}:2`).catch(() => undefined);
        await reply;
      }),
    ),
  );
  const refused = replies.flatMap((result, i) => {
    if (result.status === 'fulfilled') return [];
    const { reason: error } = result;
    const reply = error instanceof Error ? error.message : String(error);
    // Any other refusal (wrong type, read-only, no such script) comes after the right was checked.
    if (!/^NOPERM|unknown command/i.test(reply)) return [];
    const reason = /key/i.test(reply) ? ('key' as const) : ('command' as const);
    return [{ command: tried[i]!.name, reason, reply }];
  });
  return { refused, asked: tried.length, how: 'tries', user: '' };
}

/** Pure: what is missing, and the one command that grants it. */
export function judgeRights({ refused, asked, how, user }: Rights, prefix: string): Judged {
  const seen = `asked with ${how} for ${asked} commands`;
  if (refused.length === 0) {
    return pass(`All commands that are needed are allowed on ${prefix}:*`, seen);
  }
  const commands = refused
    .filter(({ reason }) => reason === 'command')
    .map(({ command }) => command);
  const hasKeys = refused.some(({ reason }) => reason === 'key');
  const who = user === '' ? '<user>' : user;
  const grants = [
    ...(hasKeys ? [`~${prefix}:*`] : []),
    ...commands.map((command) => `+${command.toLowerCase()}`),
  ];
  const what = [
    ...(commands.length > 0 ? [`run ${commands.join(', ')}`] : []),
    ...(hasKeys ? [`touch keys ${prefix}:*`] : []),
  ];
  return fail(
    `${user === '' ? 'The user' : `User ${user}`} may not ${what.join(', nor ')}`,
    `${refused[0]!.reply.replace(/'[^']*\{doctor\}[^']*'/, `'${prefix}:…'`)}; ${seen}`,
    `On the server, as an administrator: ACL SETUSER ${who} ${grants.join(' ')} (all that is needed: config/redis-acl.conf)`,
    'no-permission',
  );
}
