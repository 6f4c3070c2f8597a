import { isIPv6 } from 'node:net';
import type Koa from 'koa';
import type { Context } from 'koa';
import type { TrustedProxy } from '../config/parsers.js';

/** Lets `context.ip` be the client's address, as far as the proxies before the daemon can be believed. */
export function trustProxy(app: Koa, trusted: TrustedProxy): void {
  if (trusted.kind === 'none') return;
  app.proxy = true;
  // What stands further to the left was written by the client, who may write anything.
  app.maxIpsCount = trusted.kind === 'forwarded' ? trusted.proxies : 1;
  if (trusted.kind === 'real-ip') app.proxyIpHeader = 'X-Real-IP';
}

/** Who asks: the key that the gate has found, or the network of the address. */
export function clientOf({ state, ip }: Context): string {
  return typeof state.key === 'string' ? state.key : networkOf(ip);
}

/**
 * The part of an address that one client has to itself: all of IPv4, and the first 64 bits of IPv6, of which every
 * connection may choose the rest.
 */
export function networkOf(address: string): string {
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
