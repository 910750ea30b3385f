/**
 * The files of our pages, read once at start. They hold no data and need no bundler: a page asks the
 * API for what it shows, so its files may be seen by anybody, and names from an address never lead
 * to a path.
 */
import { readFileSync } from 'node:fs';
import type { FastifyInstance, FastifyReply } from 'fastify';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

const FILES = ['status.html', 'login.html', 'login-refused.html', 'jobs-away.html'] as const;
/** Served under their own names. */
const ASSETS = ['page.css', 'status.js', 'draw.js', 'icon.svg'] as const;

type PageName = (typeof FILES)[number];
type Name = PageName | (typeof ASSETS)[number];

/** What several pages share stands in a file of its own: `<!-- include head.html -->`. */
const INCLUDE = /^<!-- include ([a-z-]+\.html) -->\n/gm;

const contents = new Map<Name, string>();

/** `page` as the answer. */
export function sendPage(reply: FastifyReply, page: PageName, status = 200): FastifyReply {
  return reply.code(status).type(TYPES.html!).send(contentOf(page));
}

export function registerPages(app: FastifyInstance): void {
  app.get('/', (_request, reply) => sendPage(reply, 'status.html'));
  for (const name of ASSETS) {
    const type = TYPES[name.split('.').at(-1)!]!;
    app.get(`/pages/${name}`, (_request, reply) => {
      // Small, and a new version must be seen at once: asked for each time.
      return reply.header('cache-control', 'no-cache').type(type).send(contentOf(name));
    });
  }
}

function contentOf(name: Name): string {
  const known = contents.get(name);
  if (known !== undefined) return known;
  const text = read(name).replace(INCLUDE, (_line, part: string) => read(part));
  contents.set(name, text);
  return text;
}

function read(name: string): string {
  return readFileSync(new URL(`./pages/${name}`, import.meta.url), 'utf8');
}
