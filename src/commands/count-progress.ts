import { formatDuration } from './format.js';
import type { ProgressStream } from './progress.js';

/** How often a bar is drawn anew, and how often a plain line is written, in milliseconds. */
const BAR_MS = 100;
const LINE_MS = 3_000;
const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\x1b[K';

/** Shows how many of a number of things are done: a bar on a terminal, a plain line every few seconds elsewhere. */
export class CountProgress {
  readonly #stream: ProgressStream;
  readonly #title: string;
  readonly #started = performance.now();
  #drawnAt = performance.now();
  #drawn = false;

  /** @param title what is being done, such as `embedding utterances` */
  constructor(stream: ProgressStream, title: string) {
    this.#stream = stream;
    this.#title = title;
  }

  /** So many are done. */
  reached(done: number, total: number): void {
    const now = performance.now();
    if (now - this.#drawnAt < (this.#stream.isTTY ? BAR_MS : LINE_MS)) return;
    this.#drawnAt = now;
    const share = total === 0 ? 1 : done / total;
    const left =
      done === 0 ? '' : `, ${formatDuration(((now - this.#started) / done) * (total - done))} left`;
    const text = `${Math.floor(share * 100)}%  ${this.#title}: ${done} of ${total}${left}`;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${text}\n`);
      return;
    }
    const filled = Math.floor(share * BAR_WIDTH);
    const bar = `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${text}`;
    // Some terminals say that they are 0 wide.
    const { columns = 0 } = this.#stream;
    this.#stream.write(`${CLEAR_LINE}${bar.slice(0, (columns > 0 ? columns : 80) - 1)}`);
    this.#drawn = true;
  }

  /** Removes the bar until it is drawn again. */
  clear(): void {
    if (this.#drawn) this.#stream.write(CLEAR_LINE);
    this.#drawn = false;
  }
}
