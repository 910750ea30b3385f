/** See `command.ts`. */
import { createProgram } from '../../src/cli.ts';
import { testConfig } from './config.ts';

const config = () => testConfig(JSON.parse(process.env.TEST_CONFIG ?? '{}'));
await (await createProgram(config, process.argv[2])).parseAsync();
