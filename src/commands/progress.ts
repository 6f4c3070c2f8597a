import { basename } from 'node:path';
import type { PinnedFile } from '../cache/manifest.js';
import { formatBytes, formatDuration } from './format.js';

/** The part of a terminal, a pipe or a file that progress is written to. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export const SILENT: ProgressStream = { write: () => undefined };

/** Time between two updates of a bar, and between two plain lines, in milliseconds. */
const BAR_MS = 100;
const LINE_MS = 3_000;
/** The rate shown is the mean over this time. */
const RATE_WINDOW_MS = 5_000;
const BAR_WIDTH = 24;
/** Room that a bar leaves for the label, in characters. */
const LABEL_MIN = 16;
const CLEAR_LINE = '\r\x1b[K';

/** Shows progress: on a terminal a bar on one line, elsewhere a plain line every few seconds. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #unit: 'bytes' | 'texts';
  readonly #samples: { at: number; done: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  #done = 0;
  #total: number;
  #label: string;
  #drawn = false;

  /** @param label the work or the file, such as `embedding utterances` */
  constructor(stream: ProgressStream, unit: 'bytes' | 'texts', label: string, total = 0) {
    this.#stream = stream;
    this.#unit = unit;
    this.#label = label;
    this.#total = total;
    this.#timer = setInterval(() => this.#draw(), stream.isTTY ? BAR_MS : LINE_MS);
    this.#timer.unref();
    this.#sample();
  }

  /** Sets the state, which the next update shows. */
  reached(done: number, total = this.#total, label = this.#label): void {
    this.#done = done;
    this.#total = total;
    this.#label = label;
  }

  /** Leaves work that was done before out of the rate. */
  skipped(amount: number): void {
    for (const sample of this.#samples) sample.done += amount;
  }

  /** Writes a line that stays, above the bar. */
  line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** Removes the bar until the next update. */
  clear(): void {
    if (this.#drawn) this.#stream.write(CLEAR_LINE);
    this.#drawn = false;
  }

  end(): void {
    clearInterval(this.#timer);
    this.clear();
  }

  #draw(): void {
    this.#sample();
    // Work that has not begun, or for which there is nothing to do: a bar of it would fight with another one.
    if (this.#total === 0) return;
    const share = Math.min(1, this.#done / this.#total);
    if (!this.#stream.isTTY) {
      this.#stream.write(`${Math.floor(share * 100)}%  ${this.#numbers()}  ${this.#label}\n`);
      return;
    }
    // Some terminals report a width of 0.
    const width = ((this.#stream.columns ?? 0) > 0 ? (this.#stream.columns ?? 0) : 80) - 1;
    const numbers = `${Math.floor(share * 100)}%  ${this.#numbers()}`;
    // Where the line is short, the bar is: the numbers say more. Of a label the end does.
    const barWidth = Math.min(BAR_WIDTH, Math.max(0, width - numbers.length - 3 - LABEL_MIN));
    const filled = Math.floor(share * barWidth);
    const bar = barWidth < 4 ? '' : `[${'='.repeat(filled)}${' '.repeat(barWidth - filled)}] `;
    const room = width - bar.length - numbers.length - 2;
    const label =
      this.#label.length <= room ? this.#label : room < 4 ? '' : `…${this.#label.slice(1 - room)}`;
    this.#stream.write(`${CLEAR_LINE}${`${bar}${numbers}  ${label}`.slice(0, width)}`);
    this.#drawn = true;
  }

  #numbers(): string {
    const perSecond = this.#perSecond();
    const leftMs = ((this.#total - this.#done) / perSecond) * 1_000;
    const left = perSecond > 0 ? `${formatDuration(leftMs)} left` : 'waiting';
    if (this.#unit === 'texts') return `${this.#done} of ${this.#total}  ${left}`;
    const rate = formatBytes(Math.round(perSecond));
    return `${formatBytes(this.#done)} of ${formatBytes(this.#total)}  ${rate}/s  ${left}`;
  }

  #sample(): void {
    const now = performance.now();
    this.#samples.push({ at: now, done: this.#done });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > RATE_WINDOW_MS) {
      this.#samples.shift();
    }
  }

  #perSecond(): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.at <= first.at) return 0;
    return ((last.done - first.done) / (last.at - first.at)) * 1_000;
  }
}

/** Progress of the download of several files, which may have begun in an earlier run. */
export class DownloadProgress {
  readonly #progress: Progress;
  /** Bytes on disk by blob. */
  readonly #positions = new Map<string, number>();
  readonly #sources = new Map<string, string>();

  /** @param files the files to be fetched */
  constructor(stream: ProgressStream, files: readonly PinnedFile[]) {
    const sizes = new Map(files.map(({ sha256, size }) => [sha256, size]));
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    this.#progress = new Progress(stream, 'bytes', '', total);
  }

  /** A source begins to deliver a file at `offset`. */
  began(file: PinnedFile, offset: number, source: string): void {
    this.#sources.set(file.sha256, source);
    this.#progress.skipped(offset - (this.#positions.get(file.sha256) ?? 0));
    this.#positions.set(file.sha256, offset);
    this.#show(file);
    if (offset > 0) {
      this.#progress.line(`${file.path}: resumes at ${formatBytes(offset)} of ${formatBytes(file.size)}`);
    }
  }

  /** More bytes of a file arrived. */
  received(file: PinnedFile, bytes: number): void {
    const position = (this.#positions.get(file.sha256) ?? 0) + bytes;
    this.#positions.set(file.sha256, position);
    this.#show(file);
    if (position >= file.size) this.#progress.line(`${file.path}: ${formatBytes(file.size)} received`);
  }

  /** See {@link Progress.clear}. */
  clear(): void {
    this.#progress.clear();
  }

  /** See {@link Progress.end}. */
  end(): void {
    this.#progress.end();
  }

  #show({ path, sha256 }: PinnedFile): void {
    const done = [...this.#positions.values()].reduce((sum, bytes) => sum + bytes, 0);
    const source = this.#sources.get(sha256);
    const name = basename(path);
    this.#progress.reached(done, undefined, source === undefined ? name : `${name} from ${source}`);
  }
}
