import { appendFileSync } from 'node:fs';
import { observeDisk } from './disk-changes.mjs';

/**
 * Loaded before the program with `node --import`: the fail points of crash tests. `CRASH_TRACE=FILE` writes each change
 * of the volume at MODEL_CACHE_DIR to a file; `CRASH_AT=N` ends the process with SIGKILL before its N-th change (from 1).
 */
const { MODEL_CACHE_DIR: root, CRASH_TRACE: trace, CRASH_AT: at } = process.env;
let count = 0;
observeDisk(String(root), ({ op, path }) => {
  count += 1;
  if (trace !== undefined) appendFileSync(trace, `${count} ${op} ${path}\n`);
  if (count === Number(at)) process.kill(process.pid, 'SIGKILL');
});
