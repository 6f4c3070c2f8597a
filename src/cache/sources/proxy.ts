import { request as httpRequest } from 'node:http';
import { type AgentOptions, request as httpsRequest, Agent as TlsAgent } from 'node:https';
import type { Duplex } from 'node:stream';
import ipaddr from 'ipaddr.js';
import { AppError } from '../../shared/errors.js';
import { isLiteral } from './address.js';

/** Environment variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for requests to `url`, after `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` in lower or upper case.
 * `NO_PROXY` lists names (each with its subdomains), addresses, networks (`10.0.0.0/8`), all with an optional port, or `*`.
 * @throws AppError `config_invalid` for a proxy that is no http or https URL, without quoting it
 */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const setting = (name: string): string | undefined => env[name.toLowerCase()] || env[name.toUpperCase()];
  const scheme = url.protocol.slice(0, -1);
  const text = setting(`${scheme}_proxy`) ?? setting('all_proxy');
  const excluded = (setting('no_proxy') ?? '').split(/[\s,]+/).filter((entry) => entry !== '');
  if (text === undefined || excluded.some((entry) => covers(entry, url))) return undefined;
  const proxy = text.includes('://') ? text : `http://${text}`;
  if (URL.canParse(proxy) && /^https?:/i.test(proxy)) return new URL(proxy);
  throw new AppError(
    'config_invalid',
    `${scheme.toUpperCase()}_PROXY (or ALL_PROXY) must be an http or https URL`,
  );
}

function covers(entry: string, url: URL): boolean {
  if (entry === '*') return true;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  if (ipaddr.isValidCIDR(entry)) {
    const range = ipaddr.parseCIDR(entry);
    const ip = isLiteral(host) ? ipaddr.process(host) : undefined;
    return ip?.kind() === range[0].kind() && ip.match(range);
  }
  const [, name = '', only] = /^(\[.*\]|[^:]*|.*:.*:.*?)(?::(\d+))?$/.exec(entry) ?? [];
  if (only !== undefined && only !== port) return false;
  const bare = name
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/^\*?\./, '');
  return bare !== '' && (host === bare || host.endsWith(`.${bare}`));
}

/** The header fields that a proxy wants to see of its user and password. */
export function proxyAuthorization(proxy: URL): Record<string, string> {
  if (!proxy.username && !proxy.password) return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** The error of a proxy that opens no tunnel; the status says why. */
export class ProxyError extends Error {
  readonly code = 'ERR_PROXY';
  constructor(proxy: URL, status: number | undefined) {
    const remedy = status === 407 ? '; put user and password into HTTPS_PROXY' : '';
    super(`proxy ${proxy.host} answered ${status} to CONNECT${remedy}`);
  }
}

/** Connects to https hosts through a tunnel that a proxy opens. */
export class TunnelAgent extends TlsAgent {
  readonly #proxy: URL;
  readonly #timeoutMs: number;

  constructor(proxy: URL, timeoutMs: number, options: AgentOptions) {
    super(options);
    this.#proxy = proxy;
    this.#timeoutMs = timeoutMs;
  }

  override createConnection(
    options: AgentOptions & { host?: string; port?: number },
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const done = callback as (error: Error | null, stream?: Duplex) => void;
    const { host = '', port = 443 } = options;
    const target = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const send = this.#proxy.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(this.#proxy.origin, {
      method: 'CONNECT',
      path: target,
      headers: { host: target, ...proxyAuthorization(this.#proxy) },
      agent: false,
      timeout: this.#timeoutMs,
    });
    request.once('connect', (answer, socket) => {
      const inside = { ...options, socket };
      if (answer.statusCode === 200) return done(null, super.createConnection(inside) as Duplex);
      socket.destroy();
      done(new ProxyError(this.#proxy, answer.statusCode));
    });
    request.once('timeout', () =>
      request.destroy(Object.assign(new Error('proxy timed out'), { code: 'ETIMEDOUT' })),
    );
    request.once('error', (error) => done(error));
    request.end();
    return undefined;
  }
}
