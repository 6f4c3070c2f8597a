import type { Readable } from 'node:stream';
import { bodyFault, overLimitFault, stalledFault } from './faults.js';
import type { WireLimits } from './retry.js';

/** Bounds and hooks of a watched body. */
export interface Watch {
  /** Aborting it, with the fault as its reason, ends the request. */
  readonly life: AbortController;
  readonly limits: Pick<WireLimits, 'idleTimeoutMs' | 'minBytesPerSecond' | 'rateWindowMs'>;
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** File and address in words. */
  readonly place: string;
  /** Called once, when the body ended, failed or was closed. */
  readonly onClose: () => void;
}

/**
 * A response body that is pulled piece by piece, and fails when the server falls silent, drips, or outlives the
 * deadline. Only time spent waiting for the network counts against the server, never the reader's own.
 */
export class WatchedBody {
  readonly #body: Readable;
  readonly #pieces: AsyncIterator<Buffer>;
  readonly #watch: Watch;
  #peeked: Uint8Array | undefined;
  #windowBytes = 0;
  #windowMs = 0;
  #closed = false;

  constructor(body: Readable, watch: Watch) {
    this.#body = body;
    this.#watch = watch;
    // A body that fails between two reads must not take the process down.
    body.on('error', () => undefined);
    this.#pieces = body[Symbol.asyncIterator]();
  }

  /**
   * The next piece, or `undefined` at the end of the body.
   * @throws AppError `source_stalled`, `source_truncated`, `aborted`
   */
  async next(): Promise<Uint8Array | undefined> {
    const peeked = this.#peeked;
    if (peeked) {
      this.#peeked = undefined;
      return peeked;
    }
    const { place } = this.#watch;
    const began = performance.now();
    const timer = this.#arm(began);
    try {
      const { done, value } = await this.#pieces.next();
      if (done) {
        this.#end();
        return undefined;
      }
      this.#measure(value.length, performance.now() - began);
      return value;
    } catch (cause) {
      this.close();
      throw bodyFault(cause, place);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The first `length` bytes at least, or all there are; `next` delivers them again. Before the first `next`. */
  async peek(length: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let got = 0; got < length; ) {
      const piece = await this.next();
      if (!piece) break;
      pieces.push(piece);
      got += piece.length;
    }
    const head = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
    if (head.length > 0) this.#peeked = head;
    return head;
  }

  /**
   * Reads all that is left.
   * @throws AppError `source_too_large` beyond `maxBytes`; as {@link next}
   */
  async all(maxBytes: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    for (let piece = await this.next(); piece; piece = await this.next()) {
      size += piece.length;
      if (size > maxBytes) throw overLimitFault(this.#watch.place, maxBytes);
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  /** Gives up what is left. */
  close(): void {
    if (this.#closed) return;
    this.#body.destroy();
    this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.onClose();
  }

  #arm(now: number): NodeJS.Timeout {
    const { life, limits, deadline, place } = this.#watch;
    const left = deadline - now;
    const fault =
      left <= limits.idleTimeoutMs
        ? stalledFault(place, 'was not complete at its deadline')
        : stalledFault(place, `silent for ${limits.idleTimeoutMs} ms`);
    const timer = setTimeout(() => life.abort(fault), Math.max(0, Math.min(left, limits.idleTimeoutMs)));
    return timer.unref();
  }

  #measure(bytes: number, waitedMs: number): void {
    const { minBytesPerSecond, rateWindowMs } = this.#watch.limits;
    this.#windowBytes += bytes;
    this.#windowMs += waitedMs;
    if (this.#windowMs < rateWindowMs) return;
    const rate = (this.#windowBytes * 1000) / this.#windowMs;
    if (rate < minBytesPerSecond) {
      const detail = `${Math.round(rate)} bytes/s over ${Math.round(this.#windowMs)} ms is too slow`;
      throw stalledFault(this.#watch.place, detail);
    }
    this.#windowBytes = 0;
    this.#windowMs = 0;
  }
}
