import type { Server } from 'node:net';

/** Listens on a free port of `host`. */
export function listen(server: Server, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
}
