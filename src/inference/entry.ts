import { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { becomeChild } from '../shared/child.js';
import { AppError, messageOf } from '../shared/errors.js';
import { type Answer, Batcher, TURN } from './batches.js';
import { checkCanary } from './canary.js';
import { CHANNEL_FD, type FromWorker, readFrames, type ToWorker, writeFrame } from './protocol.js';

// The entry of a child process. A crash in native code ends this process and not the daemon.

type LoadMessage = Extract<ToWorker, { kind: 'load' }>;

const channel = new Socket({ fd: CHANNEL_FD, readable: true, writable: true });
// The daemon is gone, or wants this process to end.
channel.on('close', () => process.exit(0));
channel.on('error', () => process.exit(0));
becomeChild();

const { applyRecipe, parseRecipe, createSession, createTokenizer } = await loadRuntime();
let batcher: Batcher | undefined;
let answer: Answer = newAnswer();
let running = false;
/** Called when texts have arrived. */
let arrived = (): void => undefined;

readFrames<ToWorker>(channel, (message, bytes) => {
  if (message.kind === 'load') void load(message, bytes).then(collectGarbage);
  else {
    batcher?.push(message.texts, answer);
    arrived();
    if (batcher && !running) void run(batcher);
  }
});
await send({ kind: 'started' });

/**
 * Loads what needs the native runtime, whose library may be there and lack another one, or be made for another system.
 * The bundle keeps the three together, so that each of them loads it.
 */
async function loadRuntime() {
  try {
    const [recipe, session, tokenizer] = await Promise.all([
      import('./recipe.js'),
      import('./session.js'),
      import('./tokenizer.js'),
    ]);
    return { ...recipe, ...session, ...tokenizer };
  } catch (error) {
    await send({ kind: 'unusable', message: messageOf(error) });
    return process.exit(1);
  }
}

async function load(message: LoadMessage, bytes: Buffer): Promise<void> {
  const { spec, canary, recipe, sizes } = message;
  const [model, tokenizer] = [sizes[0], sizes[0] + sizes[1]];
  const start = performance.now();
  try {
    const pinned = bytes.subarray(0, model);
    const graph = recipe === undefined ? pinned : applyRecipe(parseRecipe(recipe), pinned);
    const session = await createSession(graph, spec);
    const loaded = new Batcher(
      createTokenizer(bytes.subarray(model, tokenizer), bytes.subarray(tokenizer), spec),
      session,
    );
    const modelMs = Math.round(performance.now() - start);
    await checkCanary(canary, spec, (text) => vectorOf(loaded, text));
    if (!spec.batch_sensitive) await loaded.allowBatches(canary.cases.map(({ text }) => text));
    batcher = loaded;
    const canaryMs = Math.round(performance.now() - start) - modelMs;
    await send({ kind: 'loaded', times: { modelMs, canaryMs }, batches: loaded.batches });
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'model_unloadable';
    await send({ kind: 'rejected', code, message: messageOf(error) });
  }
}

/** The model's bytes and the parsed JSON are garbage once `load` has ended, and half of this process's memory. */
async function collectGarbage(): Promise<void> {
  await nextTurn();
  globalThis.gc?.();
}

async function vectorOf(loaded: Batcher, text: string): Promise<Float32Array> {
  const single = newAnswer();
  loaded.push([{ id: 0, text }], single);
  await loaded.pass(single);
  const [vector] = single.vectors;
  const [result] = single.results;
  if (!vector) throw new Error(result && 'failure' in result ? result.failure : 'the model gave no vector');
  return vector;
}

/** Runs passes until no text is left, and sends what they gave. */
async function run(loaded: Batcher): Promise<void> {
  running = true;
  let sentAt = performance.now();
  while (loaded.size > 0 || answer.results.length > 0) {
    if (loaded.size > 0) await loaded.pass(answer);
    // Texts that came during the pass may share the next one.
    await nextTurn();
    if (loaded.size > 0 && !loaded.sparse && performance.now() - sentAt < TURN.answerMs) continue;
    const expected = loaded.size + answer.results.length;
    // Resolves when it has left this process: should the next pass crash it, these texts are not tried again.
    await sendAnswer();
    if (loaded.sparse && expected >= TURN.gatheredTexts) await gather(loaded, expected);
    sentAt = performance.now();
  }
  running = false;
}

/**
 * Waits for the next texts of clients that were just answered. Without it, as many as a pass answers arrive during the next
 * one, wait for its end, and share the one after: two half batches in turn instead of a whole one.
 */
async function gather(loaded: Batcher, texts: number): Promise<void> {
  if (loaded.size >= texts) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, TURN.gatherMs);
    arrived = () => {
      if (loaded.size < texts) return;
      clearTimeout(timer);
      resolve();
    };
  });
  arrived = () => undefined;
}

function sendAnswer(): Promise<void> {
  const { passes, results, vectors } = answer;
  answer = newAnswer();
  const bytes = vectors.map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  return send({ kind: 'embedded', passes, results }, [Buffer.concat(bytes)]);
}

function send(message: FromWorker, bytes?: readonly Uint8Array[]): Promise<void> {
  return writeFrame(channel, message, bytes);
}

function newAnswer(): Answer {
  return { passes: 0, results: [], vectors: [] };
}
