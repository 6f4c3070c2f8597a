import { createHash } from 'node:crypto';
import type { PinnedFile } from '../../src/cache/manifest.js';

/** Bytes that are computed when they are asked for, so that a file of gigabytes costs no memory. */
export interface GeneratedContent {
  readonly size: number;
  /** The bytes from `start` to before `end`. */
  slice(start: number, end: number): Uint8Array;
}

/** A file's bytes, at hand or generated. */
export type Content = Uint8Array | GeneratedContent;

const PERIOD = 1_048_573;

/** `size` bytes that look random and differ at every place; another `seed` gives others. */
export function generated(size: number, seed = 1): GeneratedContent {
  const pattern = new Uint8Array(PERIOD);
  let state = seed >>> 0 || 1;
  for (let index = 0; index < PERIOD; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pattern[index] = state >>> 11;
  }
  return {
    size,
    slice(start, end) {
      const bytes = Buffer.alloc(Math.max(0, Math.min(end, size) - start));
      for (let filled = 0; filled < bytes.length; ) {
        const at = (start + filled) % PERIOD;
        const run = pattern.subarray(at, at + bytes.length - filled);
        bytes.set(run, filled);
        filled += run.length;
      }
      return bytes;
    },
  };
}

/** Length in bytes. */
export function sizeOf(content: Content): number {
  return content instanceof Uint8Array ? content.length : content.size;
}

/** The bytes from `start` to before `end`. */
export function sliceOf(content: Content, start: number, end: number): Uint8Array {
  return content instanceof Uint8Array ? content.subarray(start, end) : content.slice(start, end);
}

/** Pins `content` at `path`. */
export function pin(path: string, content: Content): PinnedFile {
  return { path, size: sizeOf(content), sha256: sha256Of(content) };
}

/** sha256 in hexadecimal digits. */
export function sha256Of(content: Content): string {
  const hash = createHash('sha256');
  const size = sizeOf(content);
  for (let at = 0; at < size; at += 4_194_304)
    hash.update(sliceOf(content, at, Math.min(size, at + 4_194_304)));
  return hash.digest('hex');
}
