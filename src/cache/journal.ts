import { appendFileSync } from 'node:fs';

/** A change of the volume's file system that is about to be made. */
export type DiskChange =
  | {
      readonly op: 'create' | 'sync' | 'chmod' | 'remove' | 'mkdir' | 'sync-directory';
      readonly path: string;
    }
  | { readonly op: 'write'; readonly path: string; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly op: 'truncate'; readonly path: string; readonly size: number }
  | { readonly op: 'rename' | 'link'; readonly path: string; readonly to: string };

/** Sees every change before it is made. */
export type DiskObserver = (change: DiskChange) => void;

let observer: DiskObserver | undefined = faultInjector(process.env);

/** Lets a test see every change of the disk that this process makes; `undefined` ends it. */
export function observeDisk(next: DiskObserver | undefined): void {
  observer = next;
}

/** Says what is about to be done. Every change goes through here, so that a test can stop the world at each. */
export function announce(change: DiskChange): void {
  observer?.(change);
}

/**
 * The fail points of crash tests; they need `NODE_ENV=test`, so that no setting of a real daemon can reach them.
 * `AI_ROUTER_DISK_TRACE=FILE` writes each change to a file, and `AI_ROUTER_KILL_AT=N` ends this process with
 * SIGKILL before its N-th change (from 1).
 */
function faultInjector(env: NodeJS.ProcessEnv): DiskObserver | undefined {
  const { AI_ROUTER_DISK_TRACE: trace, AI_ROUTER_KILL_AT: killAt } = env;
  if (env.NODE_ENV !== 'test' || (trace === undefined && killAt === undefined)) return undefined;
  let count = 0;
  return (change) => {
    count += 1;
    if (trace !== undefined) appendFileSync(trace, `${count} ${change.op} ${change.path}\n`);
    if (count === Number(killAt)) process.kill(process.pid, 'SIGKILL');
  };
}
