import type { TrustedProxy } from '../http/client-address.js';
import { keyDigest } from '../http/keys.js';
import type { RateLimit } from '../http/rate-limit.js';

// How the settings of who may come in are read; each throws an `Error` whose message completes "NAME …".

/** What stands between commas. */
export function list(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** Keys need enough characters that nobody guesses one. Only their digests are kept. */
export function keys(text: string): readonly string[] {
  const found = list(text);
  if (found.some((key) => key.length < 16)) throw new Error('must hold keys of at least 16 characters each');
  if (found.some((key) => /^sha256:/i.test(key) && !/^sha256:[0-9a-f]{64}$/i.test(key))) {
    throw new Error('must hold hashed keys as "sha256:" and 64 hexadecimal digits');
  }
  if (found.some((key) => /\s/.test(key))) throw new Error('must hold keys without blanks');
  return found.map(keyDigest);
}

const WINDOW_SECONDS = { second: 1, minute: 60, hour: 3_600, day: 86_400 } as const;

/** How many requests in which time. */
export function rate(text: string): RateLimit {
  const [, number, unit] = /^(\d{1,9}) *\/ *(second|minute|hour|day)$/i.exec(text) ?? [];
  const requests = Number(number);
  const seconds = WINDOW_SECONDS[unit?.toLowerCase() as keyof typeof WINDOW_SECONDS];
  if (!seconds || requests < 1) {
    throw new Error(`must look like "600/minute" (second, minute, hour or day), not "${text}"`);
  }
  return { requests, seconds };
}

/** Whose word counts about addresses. */
export function proxy(text: string): TrustedProxy {
  if (/^(none|0|false|no|off)$/i.test(text)) return { kind: 'none' };
  if (/^x-real-ip$/i.test(text)) return { kind: 'real-ip' };
  const proxies = Number(text);
  if (/^\d+$/.test(text) && proxies <= 16) return { kind: 'forwarded', proxies };
  throw new Error(`must be none, x-real-ip, or a number of proxies from 1 to 16, not "${text}"`);
}

/** An origin as browsers send it. */
export function origin(text: string): string {
  if (text === '*') return text;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.origin !== text.toLowerCase().replace(/\/$/, '')) {
    throw new Error(`must hold origins such as "https://app.example.org", or "*", not "${text}"`);
  }
  return url.origin;
}
