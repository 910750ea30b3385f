/**
 * What a producer and a worker both need to know of a queue: its name and the shape of its data. Lives
 * in a file that both import, without the handler's dependencies.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { InvalidInputError } from '../errors.ts';

export interface QueueDefinition<Data = unknown> {
  queue: string;
  /** The job name that `enqueue` gives. Default: the queue's name. */
  name: string;
  /** Any Standard Schema (zod, valibot, arktype …). The data is stored as given, not as transformed. */
  schema: StandardSchemaV1<Data, unknown> | undefined;
}

/** The type of a queue's data comes from its schema, or is given: `defineQueue<Mail>({ queue })`. */
export function defineQueue<Data = unknown>(definition: {
  queue: string;
  name?: string;
  schema?: StandardSchemaV1<Data, unknown>;
}): QueueDefinition<Data> {
  const { queue, name = queue, schema } = definition;
  return { queue, name, schema };
}

/** @throws InvalidInputError that names the field and what is wrong with it */
export async function checkedData(definition: QueueDefinition, data: unknown): Promise<unknown> {
  const checked = await definition.schema?.['~standard'].validate(data);
  if (!checked?.issues) return data;
  const { path = [], message } = checked.issues[0]!;
  const at = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
  throw new InvalidInputError(
    at === '' ? 'data' : `data.${at}`,
    `does not fit the schema of queue "${definition.queue}": ${message}`,
    'Correct it and enqueue again.',
  );
}
