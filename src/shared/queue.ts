import { AppError } from './errors.js';

/** Pieces of work that may wait; more are refused. */
const MAX_WAITING = 64;

/** Runs one piece of work after the other, in the order in which they came. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** @throws AppError `overloaded` when too many wait; what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) {
      throw new AppError('overloaded', 'too many changes wait for their turn', { retryable: true });
    }
    this.#waiting += 1;
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }
}
