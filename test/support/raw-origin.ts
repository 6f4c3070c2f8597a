import { createServer, type Socket } from 'node:net';
import { listen } from './listen.js';

/** A server below HTTP: `answer` gets each connection with the first bytes that came on it. */
export interface RawOrigin {
  readonly url: string;
  /** The first bytes of each connection, as text. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/** Starts a server that says whatever `answer` writes, HTTP or not. */
export async function startRaw(answer: (socket: Socket, request: string) => void): Promise<RawOrigin> {
  const sockets = new Set<Socket>();
  const requests: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', (bytes) => {
      requests.push(bytes.toString('latin1'));
      answer(socket, bytes.toString('latin1'));
    });
  });
  const port = await listen(server);
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return { url: `http://127.0.0.1:${port}`, requests, close };
}
