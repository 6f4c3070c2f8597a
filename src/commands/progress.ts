import type { PinnedFile } from '../cache/manifest.js';
import { formatBytes, formatDuration } from './format.js';

/** The part of a terminal, a pipe or a file that progress is written to. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** How often a bar is drawn anew, and how often a plain line is written, in milliseconds. */
const BAR_MS = 100;
const LINE_MS = 3_000;
/** The rate shown is the mean over this time. */
const RATE_WINDOW_MS = 5_000;
const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\x1b[K';

/**
 * Shows a download: on a terminal one line that is drawn anew, with a bar, bytes, rate and time left; elsewhere
 * a plain line for each file and every few seconds.
 */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #total: number;
  /** Bytes on disk of each blob. */
  readonly #positions = new Map<string, number>();
  /** What is said of each blob. */
  readonly #labels = new Map<string, string>();
  readonly #samples: { at: number; bytes: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  #received = 0;
  #current = '';
  #drawn = false;

  /** @param files what is going to be fetched */
  constructor(stream: ProgressStream, files: readonly PinnedFile[]) {
    this.#stream = stream;
    const sizes = new Map(files.map(({ sha256, size }) => [sha256, size]));
    this.#total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    this.#timer = setInterval(() => this.#tick(), stream.isTTY ? BAR_MS : LINE_MS);
    this.#timer.unref();
    this.#sample();
  }

  /** A source begins to deliver a file at `offset`. */
  began(file: PinnedFile, offset: number, source: string): void {
    this.#labels.set(file.sha256, `${file.path} from ${source}`);
    this.#positions.set(file.sha256, offset);
    if (offset > 0) this.line(`${file.path}: resumes at ${formatBytes(offset)} of ${formatBytes(file.size)}`);
  }

  /** More bytes of a file arrived. */
  received(file: PinnedFile, bytes: number): void {
    this.reached(file, (this.#positions.get(file.sha256) ?? 0) + bytes);
  }

  /** So many bytes of a file are there. */
  reached(file: PinnedFile, position: number): void {
    this.#received += Math.max(0, position - (this.#positions.get(file.sha256) ?? 0));
    this.#positions.set(file.sha256, position);
    this.#current = this.#labels.get(file.sha256) ?? file.path;
    if (position >= file.size) this.line(`${file.path}: ${formatBytes(file.size)} received`);
  }

  /** Writes a line that stays, above the bar. */
  line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** Removes the bar until it is drawn again. */
  clear(): void {
    if (this.#drawn) this.#stream.write(CLEAR_LINE);
    this.#drawn = false;
  }

  /** Ends it. */
  end(): void {
    clearInterval(this.#timer);
    this.clear();
  }

  #tick(): void {
    this.#sample();
    if (!this.#stream.isTTY) {
      this.#stream.write(`${this.#numbers()}  ${this.#current}\n`);
      return;
    }
    const done = this.#done();
    const filled = this.#total === 0 ? 0 : Math.min(BAR_WIDTH, Math.floor((done / this.#total) * BAR_WIDTH));
    const bar = `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}]`;
    const text = `${bar} ${this.#numbers()}  ${this.#current}`;
    this.#stream.write(`${CLEAR_LINE}${text.slice(0, Math.max(20, (this.#stream.columns ?? 80) - 1))}`);
    this.#drawn = true;
  }

  #numbers(): string {
    const done = this.#done();
    const rate = this.#bytesPerSecond();
    const percent = this.#total === 0 ? 100 : Math.floor((done / this.#total) * 100);
    const left = rate > 0 ? `${formatDuration(((this.#total - done) / rate) * 1_000)} left` : 'waiting';
    return `${percent}%  ${formatBytes(done)} of ${formatBytes(this.#total)}  ${formatBytes(Math.round(rate))}/s  ${left}`;
  }

  #done(): number {
    return [...this.#positions.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  #sample(): void {
    const now = performance.now();
    this.#samples.push({ at: now, bytes: this.#received });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > RATE_WINDOW_MS) {
      this.#samples.shift();
    }
  }

  #bytesPerSecond(): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.at <= first.at) return 0;
    return ((last.bytes - first.bytes) / (last.at - first.at)) * 1_000;
  }
}
