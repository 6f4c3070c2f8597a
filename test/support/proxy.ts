import { createServer, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { listen } from './listen.js';

/** A forward proxy that writes down what it was asked for. */
export interface LoggingProxy {
  readonly url: string;
  /** `GET http://…` or `CONNECT host:port`, with the `Proxy-Authorization` that came along. */
  readonly log: { readonly asked: string; readonly authorization: string | undefined }[];
  /** Turns everything away with this status from now on. */
  refuse(status: number): void;
  close(): Promise<void>;
}

/** Starts a proxy for plain requests and for tunnels. */
export async function startProxy(): Promise<LoggingProxy> {
  const log: LoggingProxy['log'] = [];
  const sockets = new Set<Socket>();
  let refusal: number | undefined;
  const server = createServer((incoming, response) => {
    const { 'proxy-authorization': authorization, ...headers } = incoming.headers;
    log.push({ asked: `${incoming.method} ${incoming.url}`, authorization });
    if (refusal !== undefined) return void response.writeHead(refusal).end();
    const outgoing = request(incoming.url ?? '', { headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    outgoing.end();
  });
  server.on('connect', (incoming, client: Socket) => {
    log.push({ asked: `CONNECT ${incoming.url}`, authorization: incoming.headers['proxy-authorization'] });
    client.on('error', () => undefined);
    if (refusal !== undefined) return void client.end(`HTTP/1.1 ${refusal} No\r\n\r\n`);
    const [host = '', port] = incoming.url?.split(/:(?=\d+$)/) ?? [];
    const target = connect(Number(port), host.replace(/^\[|\]$/g, ''), () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(target).pipe(client);
    });
    target.on('error', () => client.destroy());
  });
  server.on('connection', (socket) => sockets.add(socket));
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    log,
    refuse: (status) => {
      refusal = status;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
