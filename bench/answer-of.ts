import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/**
 * The next message of a forked process.
 * @param who what the process is called
 * @throws Error when it ends instead
 */
export async function answerOf(child: ChildProcess, who: string): Promise<unknown> {
  const gone = new AbortController();
  const died = once(child, 'exit', { signal: gone.signal }).then(([code, signal]) => {
    throw new Error(`${who} ended with ${signal ?? code}`);
  });
  try {
    return ((await Promise.race([once(child, 'message', { signal: gone.signal }), died])) as unknown[])[0];
  } finally {
    died.catch(() => {});
    gone.abort();
  }
}
