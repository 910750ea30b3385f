/**
 * `holdfast doctor`: says what is wrong with Redis, its configuration and this host, from the first layer
 * that fails. Works while Redis is away and with a configuration that is no good.
 */
import type { Command } from 'commander';
import { diagnose } from '../diagnose/doctor.ts';
import { type LoadedConfig, loadConfig, packageVersion } from '../load-config.ts';
import { DoctorScreen } from './doctor-screen.ts';
import { exitsAsDocumented } from './run.ts';
import { outliveReader, print } from './terminal.ts';

interface DoctorCommandOptions {
  json?: boolean;
  deep?: boolean;
}

export function register(program: Command): void {
  exitsAsDocumented(
    program
      .command('doctor')
      .description('say what is wrong with Redis, its configuration, the queues and this host')
      .option('--json', 'print JSON: one document')
      .option('--deep', 'look longer: memory trend over 5 s, 200 PINGs, every lock')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast doctor
  $ REDIS_URL=rediss://db:6380 holdfast doctor --deep
  $ holdfast doctor --json | jq -r '.findings[] | select(.status == "fail") | .title, .remedy'
  $ holdfast doctor > /dev/null || echo "look at it"

Only looks: it adds keys of its own that end within a second, and changes no setting. When Redis is down
it says why, from the first layer that fails. What each check looks at: docs/doctor.md.
Exit codes: 0 all is well · 1 there are warnings · 2 something fails, or wrong arguments`,
      )
      .action((options: DoctorCommandOptions) => doctor(() => loadConfig(), options)),
  );
}

async function doctor(
  source: () => LoadedConfig,
  { json = false, deep = false }: DoctorCommandOptions,
): Promise<void> {
  outliveReader();
  const screen = json ? undefined : new DoctorScreen(process.stdout);
  const report = await diagnose(source, {
    isDeep: deep,
    env: process.env,
    version: packageVersion(),
    onStart: (check) => screen?.begin(check),
    onEnd: (check, findings) => screen?.end(check, findings),
  });
  if (screen === undefined) print(JSON.stringify(report, null, 2));
  else screen.finish(report);
  // A name server that is still being waited for would keep the process; what was printed goes out first.
  process.stdout.write('', () => process.exit(report.exitCode));
}
