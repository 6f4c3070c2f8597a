import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** How old what is known of the connections of this machine may be, in milliseconds: to learn it takes five. */
const FRESH_MS = 250;

/** States of a connection whose process has not closed it: established, and closed by the other side only. */
const HELD = new Set(['01', '08']);

let held: ReadonlySet<string> = new Set();
let readAt = Number.NEGATIVE_INFINITY;

/** Connections that some process of this machine holds, as `local port>remote port`. */
function heldConnections(): ReadonlySet<string> {
  if (performance.now() - readAt < FRESH_MS) return held;
  readAt = performance.now();
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1, -1);
  held = new Set(
    lines.flatMap((line) => {
      const [, local = '', remote = '', state = ''] = line.trim().split(/ +/);
      return HELD.has(state) ? [`${portOf(local)}>${portOf(remote)}`] : [];
    }),
  );
  return held;
}

function portOf(address: string): number {
  return Number.parseInt(address.slice(address.indexOf(':') + 1), 16);
}

/**
 * Waits until a server of this machine has closed its end of a connection, or we have closed ours. Who does not read
 * does not learn of an end: the kernel is asked.
 */
export async function untilLetGo(socket: Socket): Promise<void> {
  const theirs = `${socket.remotePort}>${socket.localPort}`;
  do await sleep(FRESH_MS);
  while (!socket.destroyed && heldConnections().has(theirs));
}
