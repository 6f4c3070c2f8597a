import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Koa from 'koa';
import { AppError, errnoOf, messageOf } from '../errors.js';

/** Bounds on connections, in milliseconds. */
export const SERVER_DEFAULTS = Object.freeze({
  headersTimeoutMs: 15_000,
  requestTimeoutMs: 60_000,
  /** Longer than the idle time of common proxies, so that they close first. */
  keepAliveTimeoutMs: 65_000,
  /** Node looks for late connections this often; its own default of 30 s would be the real limit. */
  checkIntervalMs: 1_000,
});

/** A listening HTTP server. */
export interface HttpServer {
  /** Where it listens, e.g. `http://localhost:3000`. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting, lets open requests end for at most `graceMs`, then closes every connection. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens. Without a host it takes `::` (IPv6 and IPv4 in one), or `0.0.0.0` where the machine has no IPv6.
 * @throws AppError `config_invalid` when the address is taken, forbidden or not of this machine
 */
export async function listen(app: Koa, port: number, host: string | undefined): Promise<HttpServer> {
  const server = createServer(
    {
      headersTimeout: SERVER_DEFAULTS.headersTimeoutMs,
      requestTimeout: SERVER_DEFAULTS.requestTimeoutMs,
      keepAliveTimeout: SERVER_DEFAULTS.keepAliveTimeoutMs,
      connectionsCheckingInterval: SERVER_DEFAULTS.checkIntervalMs,
    },
    app.callback(),
  );
  try {
    await bind(server, port, host ?? '::').catch((error: unknown) => {
      const errno = errnoOf(error);
      if (host !== undefined || (errno !== 'EAFNOSUPPORT' && errno !== 'EADDRNOTAVAIL')) throw error;
      return bind(server, port, '0.0.0.0');
    });
  } catch (cause) {
    throw new AppError('config_invalid', `cannot listen on port ${port}: ${explain(cause)}`, { cause });
  }
  const { address, family, port: actual } = server.address() as AddressInfo;
  const wildcard = address === '::' || address === '0.0.0.0';
  const shown = wildcard ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
  return { url: `http://${shown}:${actual}`, port: actual, close: (graceMs) => close(server, graceMs) };
}

function bind(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return 'it is in use; set PORT to another one';
    case 'EACCES':
      return 'it is not permitted for this user; set PORT to one above 1023';
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return 'HOST is no address of this machine';
    default:
      return messageOf(error);
  }
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(timer);
}
