/**
 * docs/configuration.md, made from the table of settings. `node src/configuration-page.ts` writes it;
 * a test compares.
 */
import { writeFileSync } from 'node:fs';
import { settings } from './settings.ts';

export function configurationPage(): string {
  const groups = new Map<string, string[]>();
  for (const [name, setting] of Object.entries(settings)) {
    const rows = groups.get(setting.group) ?? [];
    const value = setting.default === undefined ? '' : `\`${setting.default || ' '}\``;
    const secret = setting.secret ? ` Secret: also from \`${name}_FILE\`.` : '';
    rows.push(`| \`${name}\` | ${value} | ${setting.text}${secret} | ${setting.allowed} |`);
    groups.set(setting.group, rows);
  }
  const parts = [...groups].map(
    ([name, rows]) =>
      `## ${name}\n\n| variable | default | what it is | takes |\n|---|---|---|---|\n${rows.join('\n')}\n`,
  );
  return `# Configuration

Everything is set by environment variables, or by a file \`.env\` in the working folder (the
environment wins). All mistakes are told at once and the process exits with 78. A name that looks like
one of these and is none is a warning. \`holdfast config\` shows what is in force and where it came from.

Durations take \`500ms\`, \`25s\`, \`10m\`, \`24h\`, \`7d\` or plain milliseconds; sizes take \`65536\`,
\`512K\`, \`1M\` (powers of 1024); each within the range that its row says. Relative paths start at the working folder.

${parts.join('\n')}`;
}

if (import.meta.main) writeFileSync('docs/configuration.md', configurationPage());
