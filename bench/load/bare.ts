/**
 * The least that a Koa daemon with workers can do: it takes a text, lets a worker of its own process embed it and
 * answers with one number of the vector. No routes, no validation, no log, no metrics, no limits. What it does not
 * reach of the raw limit is what Koa, a message to another process and the client cost on this machine.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import type { FromBareWorker } from './bare-worker.js';
import { servePlainly } from './plain-server.js';

/** So that a worker need not wait for its next text. */
const IN_FLIGHT = 2;

interface Waiting {
  readonly text: string;
  resolve(answer: FromBareWorker): void;
}

const queue: Waiting[] = [];
const workers: { readonly child: ChildProcess; readonly asked: Waiting[] }[] = [];
for (let count = 0; count < availableParallelism(); count += 1) {
  const child = fork('bench/load/bare-worker.ts', {
    execArgv: ['--import', 'tsx'],
    serialization: 'advanced',
  });
  await once(child, 'message');
  const worker = { child, asked: [] as Waiting[] };
  workers.push(worker);
  child.on('message', (answer: FromBareWorker) => {
    worker.asked.shift()?.resolve(answer);
    feed();
  });
}

function feed(): void {
  for (const { child, asked } of workers.toSorted((a, b) => a.asked.length - b.asked.length)) {
    const next = asked.length < IN_FLIGHT ? queue.shift() : undefined;
    if (!next) continue;
    asked.push(next);
    child.send(next.text);
  }
}

servePlainly(async (text) => {
  const { vector } = await new Promise<FromBareWorker>((resolve) => {
    queue.push({ text, resolve });
    feed();
  });
  return { first: vector[0] };
});
