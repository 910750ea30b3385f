/** See `command.ts`. */
import { Command } from 'commander';
import { register as registerEnqueue } from '../../src/cli/enqueue.ts';
import { register as registerJournal } from '../../src/cli/journal.ts';
import { register as registerStatus } from '../../src/cli/status.ts';
import { testConfig } from './config.ts';

const program = new Command('holdfast');
const config = () => testConfig(JSON.parse(process.env.TEST_CONFIG ?? '{}'));
registerEnqueue(program, config);
registerStatus(program, config);
registerJournal(program, config);
await program.parseAsync();
