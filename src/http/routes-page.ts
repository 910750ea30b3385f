/** The table of routes for docs/security.md, from the table that the door itself asks. */
import { ROUTES, type RouteRule } from './routes.ts';

const BEGIN = '<!-- routes: made from src/http/routes.ts -->';
const END = '<!-- /routes -->';

/** `page` with the present table between its two marks. */
export function withRoutes(page: string): string {
  const [before, rest] = page.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined) throw new Error(`the page lacks ${BEGIN}`);
  return `${before}${BEGIN}\n${table()}\n${END}${after}`;
}

function table(): string {
  const rows = ROUTES.map((row) => {
    const { method, path, what } = row;
    const name = `\`${method === '*' ? '' : `${method} `}${path.replaceAll(/:(\w+)/g, '{$1}')}\``;
    return `| ${name} | ${what} | ${onLoopback(row)} | ${withToken(row)} |`;
  });
  return [
    '| route | what for | loopback, no token set | elsewhere, or a token set |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function onLoopback({ need }: RouteRule): string {
  return need === 'probe' ? 'open, with details' : 'open';
}

function withToken({ need }: RouteRule): string {
  return need === 'probe' ? 'open, status only; details: read' : need;
}
