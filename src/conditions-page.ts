/**
 * docs/conditions.md, made from the catalogue of conditions. `node src/conditions-page.ts` writes it; a
 * test compares.
 */
import { writeFileSync } from 'node:fs';
import { type CauseClass, type Condition, conditions } from './redis/condition-catalogue.ts';

const CAUSES: Readonly<Record<CauseClass, string>> = {
  network: 'Network: the way to Redis',
  configuration: 'Configuration: a person must correct it',
  resource: 'Resources: something has run out, or is about to',
  server: 'The state of the server',
};

const PACES: Readonly<Record<Condition['pace'], string>> = {
  fast: 'as fast as the fleet’s budget allows (a small fleet: several times a second)',
  normal: 'about once a second (a large fleet: less often)',
  slow: 'every few seconds: trying does not mend it',
};

export function conditionsPage(): string {
  const entries = Object.entries(conditions) as [string, Condition][];
  const sections = (Object.keys(CAUSES) as CauseClass[]).map((cause) => {
    const own = entries.filter(([, condition]) => condition.cause === cause);
    return `## ${CAUSES[cause]}\n\n${own.map(([name, condition]) => section(name, condition)).join('\n')}`;
  });
  return `# Conditions

What can be wrong with Redis, each under one word. The log (\`condition\`), \`/readyz\`, \`holdfast status\`,
\`holdfast outages\` and the metrics say these words. Which fault is given which word, and how
soon, was measured: [conditions-matrix.md](conditions-matrix.md). What Holdfast does meanwhile:
[outages.md](outages.md).

| condition | cause | means | |
|---|---|---|---|
${entries.map(([name, { cause, meaning, isWarning }]) => `| [\`${name}\`](#${name}) | ${cause} | ${meaning} | ${isWarning ? 'warning' : ''} |`).join('\n')}

A *warning* opens no breaker: work goes on, and there is time to act.

${sections.join('\n')}`;
}

function section(name: string, { meaning, evidence, remedy, pace, isWarning }: Condition): string {
  const probing = isWarning ? '' : `- Probed ${PACES[pace]}.\n`;
  return `### ${name}

${meaning[0]!.toUpperCase()}${meaning.slice(1)}.

- Evidence: ${evidence}
- Remedy: ${remedy}
${probing}`;
}

if (import.meta.main) writeFileSync('docs/conditions.md', conditionsPage());
