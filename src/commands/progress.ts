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
  readonly #samples: { at: number; fresh: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  #done = 0;
  /** Work of this run; what was done before is left out of the rate. */
  #fresh = 0;
  #total = 0;
  #label: string;
  #drawn = false;

  /**
   * @param label the work or the file, such as `embedding utterances`
   * @param look called before each update
   */
  constructor(
    stream: ProgressStream,
    unit: 'bytes' | 'texts',
    label: string,
    look: (progress: Progress) => void = () => undefined,
  ) {
    this.#stream = stream;
    this.#unit = unit;
    this.#label = label;
    this.#timer = setInterval(
      () => {
        look(this);
        this.#draw();
      },
      stream.isTTY ? BAR_MS : LINE_MS,
    );
    this.#timer.unref();
    this.#sample();
  }

  /** Sets the state, which the next update shows. */
  reached(done: number, total: number, label = this.#label, fresh = done): void {
    // Other work, with a rate of its own.
    if (fresh < this.#fresh) {
      this.#samples.length = 0;
      this.#fresh = 0;
      this.#sample();
    }
    this.#done = done;
    this.#fresh = fresh;
    this.#total = total;
    this.#label = label;
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
    // Nothing has begun, or nothing is to be done.
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
    this.#samples.push({ at: now, fresh: this.#fresh });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > RATE_WINDOW_MS) {
      this.#samples.shift();
    }
  }

  #perSecond(): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.at <= first.at) return 0;
    return ((last.fresh - first.fresh) / (last.at - first.at)) * 1_000;
  }
}
