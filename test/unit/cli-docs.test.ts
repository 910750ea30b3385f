/** The program against what is written about it. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { EXIT, EXIT_OF_SIGNAL } from '../../src/cli/exit-codes.ts';
import { createProgram } from '../../src/cli.ts';

const page = readFileSync('docs/cli.md', 'utf8');
const program = await createProgram();
const commands = program.commands.map((command) => [command.name(), command] as const);

/** The section whose heading names the command. */
function sectionOf(name: string): string {
  const sections = page.split(/^## /m).slice(1);
  return sections.find((section) => section.split('\n', 1)[0]!.includes(`\`${name}\``)) ?? '';
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut(part) {
      text += part;
    },
  });
  command.outputHelp();
  return text;
}

describe('the command line', () => {
  it.each(commands)('%s has a section with an example in docs/cli.md', (name) => {
    const section = sectionOf(name);
    expect(section).not.toBe('');
    const examples = [...section.matchAll(/^```\n([\s\S]*?)^```/gm)].map(([, text]) => text!);
    expect(examples.join('\n')).toMatch(new RegExp(`^holdfast ${name}\\b`, 'm'));
  });

  it.each(commands)('%s --help has examples and exit codes', (name, command) => {
    const help = helpOf(command);
    expect(help).toMatch(new RegExp(`Examples:\\n(.*\\n)*?.*\\$ .*holdfast ${name}\\b`));
    expect(help).toMatch(/Exit codes: 0 /);
  });

  const nested = program.commands.flatMap((command) =>
    command.commands.map((one) => [`${command.name()} ${one.name()}`, one] as const),
  );

  it.each(nested)('%s --help has examples and exit codes, and it prints JSON', (name, command) => {
    const help = helpOf(command);
    expect(help).toMatch(new RegExp(`Examples:\\n(.*\\n)*?.*\\$ .*holdfast ${name}\\b`));
    expect(help).toMatch(/Exit codes: 0 /);
    const hasJson = [command, command.parent!].some(({ options }) =>
      options.some(({ long }) => long === '--json'),
    );
    // What it prints is NDJSON already.
    expect(hasJson || name === 'journal export').toBe(true);
  });

  it.each(commands.filter(([name]) => name !== 'start'))('%s prints JSON', (_name, command) => {
    const all = [command, ...command.commands];
    expect(all.some(({ options }) => options.some(({ long }) => long === '--json'))).toBe(true);
  });

  it.each(commands)('%s: every example has a command and options that exist', (_name, command) => {
    const text = `${helpOf(command)}\n${sectionOf(command.name())}`;
    const calls = [...text.matchAll(/(?<![`\w])holdfast ([a-z]+)((?: [^|&#\n]*)?)/g)];
    expect(calls.length).toBeGreaterThan(0);
    for (const [, called, rest] of calls) {
      const found = program.commands.find((one) => one.name() === called);
      expect(found, `holdfast ${called}`).toBeDefined();
      const known = [found!, ...found!.commands].flatMap(({ options }) =>
        options.map(({ long }) => long),
      );
      const flags = rest!.replaceAll(/'[^']*'/g, '').match(/(?<= )--[a-z-]+/g) ?? [];
      for (const flag of flags) {
        if (flag !== '--help') expect(known, `holdfast ${called}${rest}`).toContain(flag);
      }
    }
  });

  it('documents every exit code, and no other', () => {
    const table = page.slice(page.indexOf('## Exit codes'));
    const listed = [...table.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, codes]) =>
      codes!.split(',').map(Number),
    );
    const used = [...Object.values(EXIT), ...Object.values(EXIT_OF_SIGNAL)];
    expect(listed.sort((a, b) => a - b)).toEqual(used.sort((a, b) => a - b));
  });
});
