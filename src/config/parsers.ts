import { createHash } from 'node:crypto';

// Types of settings and the parsers of their text. A parser throws an `Error` whose message completes "NAME …".

/** The ways to score routes: a trained head where there is enough to train on, always a head, always nearest utterances. */
export const SCORING_METHODS = ['auto', 'head', 'nearest'] as const;

/** See {@link SCORING_METHODS}. */
export type ScoringMethod = (typeof SCORING_METHODS)[number];

/** The number of requests that one client may make in a window. */
export interface RateLimit {
  readonly requests: number;
  readonly seconds: number;
}

/** Where the address of a client is taken from. */
export type TrustedProxy =
  /** The connection. */
  | { readonly kind: 'none' }
  /** `X-Forwarded-For`, to which that many proxies before the daemon append. */
  | { readonly kind: 'forwarded'; readonly proxies: number }
  /** `X-Real-IP`, which a proxy overwrites. */
  | { readonly kind: 'real-ip' };

/** The kinds of source of model files. */
export const SOURCE_KINDS = ['bundled', 'mirror', 'hub'] as const;

/** The kinds of source that `MODEL_SOURCES` may list. */
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** A whole number within bounds. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new Error(`must be a whole number from ${min} to ${max}, not "${text}"`);
    }
    return value;
  };
}

/** A share above 0 and up to 1. */
export function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1)) throw new Error(`must be a number above 0 and up to 1, not "${text}"`);
  return value;
}

/** One word of a fixed list. */
export function oneOf<const T extends string>(...allowed: readonly T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((candidate) => candidate === text.toLowerCase());
    if (!found) throw new Error(`must be one of ${allowed.join(', ')}, not "${text}"`);
    return found;
  };
}

/** An http(s) URL. The text is not repeated in the error: it may hold a password or a signature. */
export function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new Error('must be a URL that starts with http:// or https://');
  }
  return text;
}

export function flag(text: string): boolean {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw new Error(`must be true or false, not "${text}"`);
}

export function sourceOrder(text: string): readonly SourceKind[] {
  const kinds = list(text).map(oneOf(...SOURCE_KINDS));
  if (kinds.length === 0) throw new Error(`must name at least one of ${SOURCE_KINDS.join(', ')}`);
  if (new Set(kinds).size < kinds.length) throw new Error('must not name a source twice');
  return kinds;
}

/** The parts between commas. */
export function list(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** API keys, long enough not to be guessed. Only their digests are kept. */
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

/** A number of requests per time unit. */
export function rate(text: string): RateLimit {
  const [, number, unit] = /^(\d{1,9}) *\/ *(second|minute|hour|day)$/i.exec(text) ?? [];
  const requests = Number(number);
  const seconds = WINDOW_SECONDS[unit?.toLowerCase() as keyof typeof WINDOW_SECONDS];
  if (!seconds || requests < 1) {
    throw new Error(`must look like "600/minute" (second, minute, hour or day), not "${text}"`);
  }
  return { requests, seconds };
}

/** The source of client addresses. */
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

/** Hosts that public DNS cannot point elsewhere, or that a platform gives out. `.` stands for names without a dot. */
export const PRIVATE_HOSTS: readonly string[] = ['.', '.local', '.internal', '.svc', '.railway.app'];

/** Values of `Host`: names, suffixes that begin with a dot, or `*`. */
export function hosts(text: string): readonly string[] {
  const found = list(text.toLowerCase());
  const wrong = found.find((host) => host !== '*' && !/^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(host));
  if (found.length === 0 || wrong !== undefined) {
    throw new Error(
      `must hold names such as "router.example.org", suffixes such as ".example.org", or "*", not "${wrong ?? text}"`,
    );
  }
  return found;
}

const CRON_FIELD = /^[\d*,/?#A-Za-z-]+$/;

/** A cron expression by its shape; the scheduler of the daemon checks its values. */
export function cron(text: string): string {
  const fields = text.split(/\s+/);
  const isNickname = /^@[a-z]+$/i.test(text);
  if (
    !isNickname &&
    (fields.length < 5 || fields.length > 6 || !fields.every((field) => CRON_FIELD.test(field)))
  ) {
    throw new Error(`must be a cron expression such as "17 * * * *", not "${text}"`);
  }
  return text;
}

const DIGEST = /^sha256:([0-9a-f]{64})$/i;

/** The digest that stands for a key: the one that the entry gives, or that of the key. */
function keyDigest(entry: string): string {
  const [, hex] = DIGEST.exec(entry) ?? [];
  return `sha256:${hex?.toLowerCase() ?? createHash('sha256').update(entry).digest('hex')}`;
}
