/** A strict producer that adds one job, says its id, and waits to be killed. */
import pino from 'pino';
import { createClient } from '../../../src/create-client.ts';

const [redis, journal] = process.argv.slice(2) as [string, string];
const log = pino({ level: 'silent' });
const client = await createClient({ redis, journal, durability: 'strict', log });
const { id } = await client.enqueue('orders', 'plain', {});
process.stdout.write(`${id}\n`);
