import type { PinnedFile } from './manifest.js';

/**
 * Bytes that a verification has read, for whoever needs them right after it: reading and hashing a model takes a tenth
 * of a boot, and need not be done twice.
 */
export class VerifiedBytes {
  readonly #wanted: Set<string>;
  readonly #kept = new Map<string, Buffer>();

  /** @param files whose bytes are wanted */
  constructor(files: readonly PinnedFile[]) {
    this.#wanted = new Set(files.map(({ sha256 }) => sha256));
  }

  /** What a verification gives a file's bytes to, if they are wanted. */
  keeperOf({ sha256 }: PinnedFile): ((bytes: Buffer) => void) | undefined {
    if (!this.#wanted.has(sha256)) return undefined;
    return (bytes) => {
      if (this.#wanted.has(sha256)) this.#kept.set(sha256, bytes);
    };
  }

  /** A file's verified bytes, if they were read since they were last taken. */
  take({ sha256 }: PinnedFile): Buffer | undefined {
    const bytes = this.#kept.get(sha256);
    this.#kept.delete(sha256);
    return bytes;
  }

  /** From now on nothing is wanted, nor kept. */
  close(): void {
    this.#wanted.clear();
    this.#kept.clear();
  }
}
