/** A place in a {@link Fifo}. */
export interface FifoNode<T> {
  readonly value: T;
  before: FifoNode<T> | undefined;
  after: FifoNode<T> | undefined;
  queued: boolean;
}

/** A first-in-first-out queue in which every operation takes constant time, removal from the middle included. */
export class Fifo<T> {
  #first: FifoNode<T> | undefined;
  #last: FifoNode<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Appends a value. */
  push(value: T): FifoNode<T> {
    const node: FifoNode<T> = { value, before: this.#last, after: undefined, queued: true };
    if (this.#last) this.#last.after = node;
    else this.#first = node;
    this.#last = node;
    this.#size += 1;
    return node;
  }

  /** Puts a value at the head: it is the next to leave. */
  unshift(value: T): FifoNode<T> {
    const node: FifoNode<T> = { value, before: undefined, after: this.#first, queued: true };
    if (this.#first) this.#first.before = node;
    else this.#last = node;
    this.#first = node;
    this.#size += 1;
    return node;
  }

  /** The head, which stays; `undefined` when the queue is empty. */
  get first(): T | undefined {
    return this.#first?.value;
  }

  /** Takes the head; `undefined` when the queue is empty. */
  shift(): T | undefined {
    const node = this.#first;
    if (!node) return undefined;
    this.remove(node);
    return node.value;
  }

  /** Takes a node out, wherever it is. Nothing happens when it has already left. */
  remove(node: FifoNode<T>): void {
    if (!node.queued) return;
    node.queued = false;
    if (node.before) node.before.after = node.after;
    else this.#first = node.after;
    if (node.after) node.after.before = node.before;
    else this.#last = node.before;
    // Chained to the next one, a node that lived long enough to be old garbage would keep all that come after it.
    node.before = undefined;
    node.after = undefined;
    this.#size -= 1;
  }
}
