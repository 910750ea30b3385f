/**
 * An app beside the service: asks a question every few seconds over HTTP, with an Idempotency-Key, so
 * that asking again after a missing answer adds nothing twice. Gives up no question: what is not
 * accepted is sent again until it is.
 */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const { HOLDFAST_URL = 'http://127.0.0.1:8080', EVERY_MS = '5000' } = process.env;
const ANSWER_MS = 3000;
const AGAIN_MS = 1000;
const QUESTIONS = [
  'What do I do when Redis is down?',
  'What is the journal?',
  'How do I write a handler?',
];

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => stop.abort());

for (let n = 0; !stop.signal.aborted; n += 1) {
  await ask(QUESTIONS[n % QUESTIONS.length]);
  await rest(Number(EVERY_MS));
}

/** Sends one question until it is accepted. */
async function ask(question) {
  const key = randomUUID();
  while (!stop.signal.aborted) {
    const began = performance.now();
    const answer = await post(question, key);
    say({ question, ms: Math.round(performance.now() - began), ...answer });
    if (answer.id !== undefined) return;
    await rest(AGAIN_MS);
  }
}

async function post(question, key) {
  try {
    const response = await fetch(`${HOLDFAST_URL}/v1/queues/faq/jobs`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${token()}`,
        'idempotency-key': key,
      },
      body: JSON.stringify({ data: { question } }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const { id, stored, code } = await response.json();
    return { status: response.status, id, stored, code };
  } catch (error) {
    return { error: error.cause?.code ?? error.name };
  }
}

/** From the file it is read each time: the first start of the service makes it, and it may be changed. */
function token() {
  const { HTTP_TOKEN, HTTP_TOKEN_FILE } = process.env;
  return HTTP_TOKEN || readFileSync(HTTP_TOKEN_FILE, 'utf8').trim();
}

function rest(ms) {
  return pause(ms, undefined, { signal: stop.signal }).catch(() => {});
}

function say(fields) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...fields })}\n`);
}
