import { createServer } from 'node:net';
import type { Config } from '../../config/config.js';
import { errnoOf, messageOf } from '../../shared/errors.js';
import { type Finding, fault, fine, warning } from './finding.js';

/** How long the program that holds the port may take to say what it is, in milliseconds. */
const ASK_MS = 2_000;

/** Is the port free (or held by this very program), and can private networks over IPv6 reach it? */
export async function checkNetwork({ port, host }: Config, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  return [await checkPort(port, host), await checkIpv6(host, env)];
}

async function checkPort(port: number, host: string | undefined): Promise<Finding> {
  if (port === 0) return fine('port', 'any free one');
  const trouble = await tryListen(port, host ?? '::').then((error) =>
    host === undefined && isWithoutIpv6(error) ? tryListen(port, '0.0.0.0') : error,
  );
  if (trouble === undefined) return fine('port', `${port} is free`);
  if (errnoOf(trouble) === 'EADDRINUSE') {
    if (await answersAsDaemon(port)) return fine('port', `${port} is held by a running ai-router`);
    return fault(
      'port',
      `${port} is in use by another program`,
      'set PORT to another one, or end that program',
    );
  }
  if (errnoOf(trouble) === 'EACCES') {
    return fault('port', `${port} is not permitted for this user`, 'set PORT to one above 1023');
  }
  return fault('port', `cannot listen on ${port}: ${messageOf(trouble)}`, 'check HOST and PORT');
}

async function checkIpv6(host: string | undefined, env: NodeJS.ProcessEnv): Promise<Finding> {
  const fix = 'unset HOST, so that it listens on :: (IPv6 and IPv4)';
  const onRailway = Object.keys(env).some((name) => name.startsWith('RAILWAY_'));
  if (host !== undefined && !host.includes(':')) {
    const detail = `HOST=${host} listens on IPv4 only; private networks (Railway's among them) use IPv6`;
    return onRailway ? fault('ipv6', detail, fix) : warning('ipv6', detail, fix);
  }
  const trouble = await tryListen(0, '::');
  return trouble === undefined
    ? fine('ipv6', 'listens on :: (IPv6 and IPv4)')
    : warning(
        'ipv6',
        `this machine has no IPv6 (${messageOf(trouble)}); IPv4 is used`,
        'enable IPv6 if peers need it',
      );
}

function isWithoutIpv6(error: unknown): boolean {
  return errnoOf(error) === 'EAFNOSUPPORT' || errnoOf(error) === 'EADDRNOTAVAIL';
}

function tryListen(port: number, host: string): Promise<unknown> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(error));
    server.listen({ port, host }, () => server.close(() => resolve(undefined)));
  });
}

async function answersAsDaemon(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://localhost:${port}/livez`, { signal: AbortSignal.timeout(ASK_MS) });
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null && 'status' in body && body.status === 'alive';
  } catch {
    return false;
  }
}
