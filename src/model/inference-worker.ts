import { readSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AppError, messageOf } from '../errors.js';
import { BYTES_FD, type FromWorker, type ToWorker, type WorkerEmbedding } from './protocol.js';

// The entry of a child process. A crash in native code ends this process and not the daemon.

// A terminal's Ctrl-C reaches the whole process group; when to end is the daemon's decision alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit(0));
// The daemon may be gone before there was anybody to be told.
if (!process.connected) process.exit(0);
preferMeToTheDaemon();

// Messages wait in the channel until there is a listener, so these imports overlap with the daemon's own work.
const [{ createTokenizer }, { createSession }, { checkCanary }, { readPlaced }] = await Promise.all([
  import('./tokenizer.js'),
  import('./session.js'),
  import('./canary.js'),
  import('./read-placed.js'),
]);

type BeginMessage = Extract<ToWorker, { kind: 'begin' }>;
type LoadMessage = Extract<ToWorker, { kind: 'load' }>;
/** The next file of a model: the graph, `tokenizer.json`, `tokenizer_config.json`. */
type NextFile = () => Uint8Array;
type Embed = (text: string) => Promise<WorkerEmbedding>;

let embed: Embed | undefined;
let last: Promise<void> = Promise.resolve();

process.on('message', (message: ToWorker) => {
  last = last.then(() => {
    if (message.kind === 'begin') return begin(message);
    if (message.kind === 'embed') return answer(message.id, message.text);
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
    await checkCanary(message.canary, message.spec, async (text) => (await loaded(text)).vector);
    embed = loaded;
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'model_unloadable';
    await send({ kind: 'refused', code, message: messageOf(error) });
    return;
  }
  const canaryMs = Math.round(performance.now() - started) - modelMs;
  await send({ kind: 'loaded', times: { modelMs, canaryMs } });
  // The received bytes and the parsed JSON are garbage by now, a quarter of this process's memory.
  await nextTurn();
  globalThis.gc?.();
}

async function prepare({ spec }: BeginMessage | LoadMessage, next: NextFile): Promise<Embed> {
  const session = await createSession(next(), spec);
  const tokenizer = createTokenizer(next(), next(), spec);
  return async (text) => {
    const start = performance.now();
    const { ids, truncatedTokens } = tokenizer.encode(text);
    const tokenized = performance.now();
    const [vector] = await session.embed([ids], tokenizer.padId);
    if (!vector) throw new Error('the model gave no vector');
    return {
      vector,
      tokens: ids.length,
      truncatedTokens,
      tokenizeMs: tokenized - start,
      inferenceMs: performance.now() - tokenized,
    };
  };
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

async function answer(id: number, text: string): Promise<void> {
  try {
    if (!embed) throw new Error('no model is loaded');
    const embedding = await embed(text);
    if (!embedding.vector.every(Number.isFinite))
      throw new Error('the model gave values that are not finite');
    await send({ kind: 'embedded', id, ...embedding });
  } catch (error) {
    await send({ kind: 'failed', id, message: messageOf(error) });
  }
}

/**
 * Resolves when the message has left this process: should the next text crash it, this answer is out, and the
 * daemon knows which text to blame.
 */
function send(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    // A failed send means a closed channel, and 'disconnect' ends the process.
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

/** When memory runs out, let the kernel end a worker, which is replaced, rather than the daemon. */
function preferMeToTheDaemon(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed: then the kernel chooses.
  }
}
