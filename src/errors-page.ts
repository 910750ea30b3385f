/**
 * docs/errors.md, made from the catalogue in `errors.ts`: code, class, what it means. `node
 * src/errors-page.ts` writes it; a test compares.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** A class with its comment and the code that it hands to its base. */
const ENTRY =
  /\/\*\* ([^\n]*?) ?\*\/\nexport class (\w+Error) extends HoldfastError \{[\s\S]*?'(HOLDFAST_[A-Z_]+)'/g;

export interface ErrorEntry {
  code: string;
  name: string;
  says: string;
}

/** Every error of the catalogue, by code. */
export function errorEntries(): ErrorEntry[] {
  const source = readFileSync(new URL('./errors.ts', import.meta.url), 'utf8');
  return [...source.matchAll(ENTRY)]
    .map(([, says, name, code]) => ({ code: code!, name: name!, says: says! }))
    .sort((a, b) => (a.code < b.code ? -1 : 1));
}

export function errorsPage(): string {
  const rows = errorEntries().map(
    ({ code, name, says }) => `| \`${code}\` | \`${name}\` | ${says} |`,
  );
  return `# Errors

Every error of Holdfast has a stable \`code\`; switch on it, never on the text. A message says what
happened and what to do; \`data\` holds the values, never a payload or a secret. The classes are exported
by the package. With which exit code a command ends is told in [cli.md](cli.md).

| code | class | what happened |
|---|---|---|
${rows.join('\n')}
`;
}

if (import.meta.main) writeFileSync('docs/errors.md', errorsPage());
