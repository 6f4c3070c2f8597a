import { parentPort, workerData } from 'node:worker_threads';
import { fitHead, type HeadProblem } from './fit.js';
import { encodeHead } from './head-cache.js';

// A thread, not a process: this is plain arithmetic, without the native runtime that has crashed in threads.
const head = encodeHead(fitHead(workerData as HeadProblem));
const bytes = Uint8Array.from(head);
parentPort?.postMessage(bytes, [bytes.buffer]);
