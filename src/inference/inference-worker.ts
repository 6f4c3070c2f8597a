import { readSync, writeFileSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AppError, messageOf } from '../shared/errors.js';
import { BYTES_FD, type FromWorker, type ToWorker } from './protocol.js';
import type { TextEmbedder } from './text-embedder.js';

/**
 * Measured under full load: the event loop's delay (p99) falls from 7 to 5 ms, and the rate stays. More gains nothing,
 * and gives more away to whatever else runs on the machine.
 */
const NICENESS = 2;
const LEAST_PRIORITY = constants.priority.PRIORITY_LOW;

// The entry of a child process. A crash in native code ends this process and not the daemon.

// A terminal's Ctrl-C reaches the whole process group; when to end is the daemon's decision alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit(0));
// The daemon may be gone before there was anybody to be told.
if (!process.connected) process.exit(0);
standBackForTheDaemon();

// Messages wait in the channel until there is a listener, so these imports overlap with the daemon's own work.
const [{ createTokenizer }, { createSession }, { checkCanary }, { readPlaced }, textEmbedder] =
  await Promise.all([
    import('./tokenizer.js'),
    import('./session.js'),
    import('./canary.js'),
    import('./read-placed.js'),
    import('./text-embedder.js'),
  ]);

type BeginMessage = Extract<ToWorker, { kind: 'begin' }>;
type LoadMessage = Extract<ToWorker, { kind: 'load' }>;
/** The next file of a model: the graph, `tokenizer.json`, `tokenizer_config.json`. */
type NextFile = () => Uint8Array;

let embedder: TextEmbedder | undefined;
let last: Promise<void> = Promise.resolve();

process.on('message', (message: ToWorker) => {
  last = last.then(() => {
    if (message.kind === 'begin') return begin(message);
    if (message.kind === 'embed') return answer(message.id, message.texts);
    const sizes = message.sizes.values();
    return load(message, () => receive(sizes.next().value ?? 0));
  });
});
await send({ kind: 'warm' });

/** Loads what lies where the daemon says, once it has proved to be the pinned bytes. */
async function begin(message: BeginMessage): Promise<void> {
  const files: Uint8Array[] = [];
  try {
    for (const file of message.files) files.push(await readPlaced(file));
  } catch (error) {
    await send({ kind: 'unread', message: messageOf(error) });
    return;
  }
  await load(message, () => files.shift() ?? new Uint8Array(0));
}

async function load(message: BeginMessage | LoadMessage, next: NextFile): Promise<void> {
  const started = performance.now();
  let modelMs: number;
  try {
    const loaded = await prepare(message, next);
    modelMs = Math.round(performance.now() - started);
    await checkCanary(message.canary, message.spec, (text) => vectorOf(loaded, text));
    if (!message.spec.batch_sensitive) {
      await loaded.allowBatches(message.canary.cases.map(({ text }) => text));
    }
    embedder = loaded;
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'model_unloadable';
    await send({ kind: 'refused', code, message: messageOf(error) });
    return;
  }
  const canaryMs = Math.round(performance.now() - started) - modelMs;
  await send({ kind: 'loaded', times: { modelMs, canaryMs }, batches: embedder.batches });
  // The received bytes and the parsed JSON are garbage by now, a quarter of this process's memory.
  await nextTurn();
  globalThis.gc?.();
}

async function prepare({ spec }: BeginMessage | LoadMessage, next: NextFile): Promise<TextEmbedder> {
  const session = await createSession(next(), spec);
  const tokenizer = createTokenizer(next(), next(), spec);
  return new textEmbedder.TextEmbedder(tokenizer, session);
}

async function vectorOf(loaded: TextEmbedder, text: string): Promise<Float32Array> {
  const [result] = await loaded.embed([text]);
  if (!result || 'failure' in result) throw new Error(result?.failure ?? 'the model gave no vector');
  return result.vector;
}

/** The next `size` bytes of the pipe. Blocks: there is nothing else for this process to do meanwhile. */
function receive(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let offset = 0; offset < size; ) {
    const count = readSync(BYTES_FD, bytes, offset, size - offset, null);
    // The daemon is gone; it will never read an error message.
    if (count === 0) process.exit(0);
    offset += count;
  }
  return bytes;
}

async function answer(id: number, texts: readonly string[]): Promise<void> {
  const results = await embedder?.embed(texts);
  await send({
    kind: 'embedded',
    id,
    results: results ?? texts.map(() => ({ failure: 'no model is loaded' })),
  });
}

/**
 * Resolves when the message has left this process: should the next group crash it, this answer is out, and the
 * daemon knows which group to blame.
 */
function send(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    // A failed send means a closed channel, and 'disconnect' ends the process.
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

/**
 * The daemon's own process goes first. It gets a core as soon as it wants one, which is seldom and short, while a
 * worker wants one all the time; and when memory runs out, let the kernel end a worker, which is replaced.
 */
function standBackForTheDaemon(): void {
  try {
    setPriority(Math.min(LEAST_PRIORITY, getPriority() + NICENESS));
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed: then the kernel chooses.
  }
}
