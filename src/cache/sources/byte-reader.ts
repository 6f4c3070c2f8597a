/** Takes a stream of pieces of any size apart into runs of wanted sizes, holding one piece at a time. */
export class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Up to `limit` bytes, as many as there are at hand; `undefined` at the end. */
  async some(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#pieces.next();
      if (done) return undefined;
      this.#rest = value;
    }
    const run = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(run.length);
    return run;
  }

  /** Exactly `length` bytes; fewer at the end. */
  async exactly(length: number): Promise<Uint8Array> {
    const first = await this.some(length);
    if (!first || first.length === length) return first ?? new Uint8Array(0);
    const bytes = new Uint8Array(length);
    bytes.set(first);
    let filled = first.length;
    while (filled < length) {
      const run = await this.some(length - filled);
      if (!run) return bytes.subarray(0, filled);
      bytes.set(run, filled);
      filled += run.length;
    }
    return bytes;
  }

  /** Passes over `length` bytes; returns how many there were. */
  async skip(length: number): Promise<number> {
    let left = length;
    while (left > 0) {
      const run = await this.some(left);
      if (!run) break;
      left -= run.length;
    }
    return length - left;
  }

  /** What is left, piece by piece. */
  async *rest(): AsyncGenerator<Uint8Array> {
    for (let run = await this.some(Infinity); run; run = await this.some(Infinity)) yield run;
  }

  /** Wants no more: the stream behind may free what it holds. */
  close(): void {
    this.#pieces.return?.().catch(() => undefined);
  }

  /** Puts bytes that were just taken back in front. */
  unread(bytes: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([bytes, this.#rest]);
  }
}
