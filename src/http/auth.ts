import { hash, timingSafeEqual } from 'node:crypto';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import type Koa from 'koa';
import type { TrustedProxy } from '../config/parsers.js';
import { AppError } from '../shared/errors.js';
import type { Access } from './openapi.js';
import type { RequestContext, RequestState } from './request.js';

/** Keys that open paths, as `sha256:<hex>`: the program keeps no key itself. */
export type KeyDigests = readonly string[];

const BEARER = /^Bearer +(\S+) *$/i;

export interface Keys {
  /** Without any, endpoints that are not for administrators want no key. */
  readonly apiKeys: KeyDigests;
  readonly adminKeys: KeyDigests;
}

interface KnownKey {
  readonly key: string;
  readonly digest: Buffer;
  readonly admin: boolean;
}

/** Decides who may call an endpoint. */
export class Authenticator {
  readonly #source: { readonly current: Keys };
  #read: Keys | undefined;
  #keyed = false;
  #closed = true;
  #keys: readonly KnownKey[] = [];

  /** @param source has another object after each change of the keys */
  constructor(source: { readonly current: Keys }) {
    this.#source = source;
  }

  #refresh(): void {
    const keys = this.#source.current;
    if (keys === this.#read) return;
    this.#read = keys;
    const { apiKeys, adminKeys } = keys;
    this.#keyed = apiKeys.length > 0;
    this.#closed = adminKeys.length === 0;
    const known = (admin: boolean) => (key: string) => ({
      key,
      digest: Buffer.from(key.slice(-64), 'hex'),
      admin,
    });
    this.#keys = [...apiKeys.map(known(false)), ...adminKeys.map(known(true))];
  }

  /** Finds out who calls: a known key, or without one the network of the address. */
  identify(context: RequestContext): Caller {
    this.#refresh();
    const found = this.#find(context.get('authorization'));
    return { client: found?.key ?? networkOf(context.ip), key: found?.key, admin: found?.admin ?? false };
  }

  /** @throws AppError `unauthorized`; `forbidden` for administrators' endpoints without ADMIN_KEYS, or with another key */
  require(access: Access, caller: Caller, context: RequestContext): void {
    if (access === 'open') return;
    if (caller.key === undefined && this.#keyed) throw unauthorized(context, 'API_KEYS');
    if (access !== 'admin' || caller.admin) return;
    if (this.#closed)
      throw new AppError('forbidden', 'admin endpoints are closed: set ADMIN_KEYS to open them');
    if (caller.key === undefined) throw unauthorized(context, 'ADMIN_KEYS');
    throw new AppError('forbidden', 'this key is one of API_KEYS; admin endpoints want one of ADMIN_KEYS');
  }

  /** Compares digests, and always all of them, so that timing tells neither a key's characters nor its place in the list. */
  #find(header: string): KnownKey | undefined {
    const token = BEARER.exec(header)?.[1];
    if (token === undefined || this.#keys.length === 0) return undefined;
    const given = sha256(token);
    let found: KnownKey | undefined;
    // Of a key that is in both lists the later place counts, which is that of administrators.
    for (const known of this.#keys) if (timingSafeEqual(known.digest, given)) found = known;
    return found;
  }
}

/** The sender of a request. */
export interface Caller {
  readonly client: string;
  /** Digest of its key, where it sent a known one. */
  readonly key: string | undefined;
  readonly admin: boolean;
}

function unauthorized(context: RequestContext, setting: string): AppError {
  context.set('WWW-Authenticate', 'Bearer');
  const found = BEARER.test(context.get('authorization')) ? 'this key is not known here: ' : '';
  return new AppError('unauthorized', `${found}send one of ${setting} as "Authorization: Bearer …"`);
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}

/**
 * Refuses names that a page of another site could point to this daemon (DNS rebinding). An IP address or localhost in `Host`
 * shows that no name was resolved.
 * @param allowed names, suffixes that begin with a dot, `.` for names without one, or `*`
 * @throws AppError `forbidden`
 */
export function requireHost(header: string, allowed: readonly string[]): void {
  const name = header.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  const known = (host: string): boolean => {
    if (host === '.') return !name.includes('.');
    return host === '*' || host === name || (host.startsWith('.') && name.endsWith(host));
  };
  if (name === 'localhost' || isIP(name.replace(/^\[|\]$/g, '')) !== 0 || allowed.some(known)) return;
  const shown = name.slice(0, 100).replace(/[^ -~]/g, '?');
  throw new AppError(
    'forbidden',
    `the host "${shown}" is not answered; add it to ALLOWED_HOSTS, or set API_KEYS`,
  );
}

/** Makes `context.ip` the client's address, as far as the trusted proxies know it. */
export function trustProxy(app: Koa<RequestState>, trusted: TrustedProxy): void {
  if (trusted.kind === 'none') return;
  app.proxy = true;
  // Entries further to the left were written by the client, who may write anything.
  app.maxIpsCount = trusted.kind === 'forwarded' ? trusted.proxies : 1;
  if (trusted.kind === 'real-ip') app.proxyIpHeader = 'X-Real-IP';
}

/**
 * The part of an address that one client has to itself: all of IPv4, and the first 64 bits of IPv6, of which every
 * connection may choose the rest.
 * @param entry of `X-Forwarded-For` or of the connection: `203.0.113.7`, `203.0.113.7:4711`, `"[2001:db8::1]:4711"`
 */
export function networkOf(entry: string): string {
  // Nearly always: an IPv4 address, as a socket for both families shows it or plain.
  const plain = entry.startsWith('::ffff:') ? entry.slice(7) : entry;
  if (isIPv4(plain)) return plain;
  // Some proxies append the port of the connection, and put what has a colon in quotes.
  const unquoted = entry.trim().replace(/^"(.*)"$/, '$1');
  const [, v6, v4] = /^(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(unquoted) ?? [];
  const address = v6 ?? v4 ?? unquoted;
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.replace(/%.*/, '').split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail ? tail.split(':') : [];
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  const groups = [...left, ...zeros, ...right].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
