/**
 * One life of an inference worker: load the model, embed the golden texts, end. It runs as a process or as a thread,
 * whichever it was started as, and says what it computed.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { openSession } from '../raw/open-session.js';
import { feedsOf, loadRuntime } from '../raw/runtime.js';

/** What a worker is told. */
export interface CycleTask {
  /** Folder where the runtime is installed. */
  readonly runtime: string;
  /** Path of the graph. */
  readonly model: string;
  /** Path of the golden texts. */
  readonly golden: string;
  /** Which reference vectors. */
  readonly reference: 'q8' | 'fp32';
  /** As a thread: only load the runtime's library, and stay. */
  readonly stay?: boolean;
}

/** What a worker says before it ends. */
export interface CycleResult {
  /** Of the vectors' bytes: equal in all cycles of a candidate, for they compute the same. */
  readonly digest: string;
  /** The lowest cosine between a vector and its reference. */
  readonly cosine: number;
}

interface Golden {
  readonly cases: readonly {
    readonly input_ids: readonly number[];
    readonly q8: readonly number[];
    readonly fp32: readonly number[];
  }[];
}

export async function cycle(task: CycleTask): Promise<CycleResult> {
  const { ort } = loadRuntime(task.runtime);
  const { cases } = JSON.parse(readFileSync(task.golden, 'utf8')) as Golden;
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
  const session = await openSession(ort, readFileSync(task.model), options);
  const hash = createHash('sha256');
  let cosine = 1;
  for (const { input_ids, [task.reference]: reference } of cases) {
    const { last_hidden_state: output } = await session.run(feedsOf(ort, [input_ids]));
    const hidden = output?.data as Float32Array;
    hash.update(new Uint8Array(hidden.buffer, hidden.byteOffset, hidden.byteLength));
    cosine = Math.min(cosine, cosineOf(meanOf(hidden, reference.length), reference));
  }
  return { digest: hash.digest('hex').slice(0, 12), cosine };
}

function meanOf(hidden: Float32Array, dimension: number): Float64Array {
  const mean = new Float64Array(dimension);
  for (const [at, value] of hidden.entries()) mean[at % dimension] = (mean[at % dimension] ?? 0) + value;
  return mean;
}

function cosineOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (let at = 0; at < a.length; at += 1) {
    const [x = 0, y = 0] = [a[at], b[at]];
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}

const task = (isMainThread ? JSON.parse(process.argv[2] ?? '{}') : workerData) as CycleTask;
if (isMainThread) {
  const result = await cycle(task);
  process.send?.(result, undefined, undefined, () => process.exit(0));
} else if (task.stay) {
  loadRuntime(task.runtime);
  parentPort?.on('message', () => {});
  parentPort?.postMessage('loaded');
} else {
  parentPort?.postMessage(await cycle(task));
}
