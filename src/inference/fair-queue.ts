import { Fifo, type FifoNode } from './fifo.js';

/** What waits: for whom, and how much work it is (see `workOf`). */
export interface Waiting {
  readonly client: string;
  readonly work: number;
}

/** What one client has waiting; never empty. */
interface Lane<T> {
  readonly client: string;
  readonly values: Fifo<T>;
  work: number;
  /** Work that it may still have done in this turn. */
  credit: number;
  turn: FifoNode<Lane<T>> | undefined;
}

/** Work that a client may have done in a turn: about one short text. */
const TURN = 16;

/**
 * A queue in which clients take turns, each with its own values in order, so that nobody waits for all that somebody
 * else has asked for. Turns are measured in work, by deficit round robin (Shreedhar and Varghese, 1995). With one
 * client it is first in, first out.
 */
export class FairQueue<T extends Waiting> {
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #turns = new Fifo<Lane<T>>();
  /** What had its turn already and came back. */
  readonly #returned = new Fifo<T>();
  readonly #places = new Map<T, { readonly node: FifoNode<T>; readonly lane: Lane<T> | undefined }>();
  #work = 0;

  get size(): number {
    return this.#places.size;
  }

  /** Appends a value to what its client has waiting. */
  push(value: T): void {
    const { client, work } = value;
    let lane = this.#lanes.get(client);
    if (!lane) {
      lane = { client, values: new Fifo(), work: 0, credit: TURN, turn: undefined };
      this.#lanes.set(client, lane);
      lane.turn = this.#turns.push(lane);
    }
    lane.work += work;
    this.#work += work;
    this.#places.set(value, { node: lane.values.push(value), lane });
  }

  /** Puts a value at the head: it is the next to leave, whoever's turn it is. */
  unshift(value: T): void {
    this.#work += value.work;
    this.#places.set(value, { node: this.#returned.unshift(value), lane: undefined });
  }

  /** The value whose turn it is, which stays; `undefined` when the queue is empty. */
  get first(): T | undefined {
    const returned = this.#returned.first;
    if (returned) return returned;
    for (let lane = this.#turns.first; lane; lane = this.#turns.first) {
      const value = lane.values.first;
      if (value && value.work <= lane.credit) return value;
      this.#turns.shift();
      lane.credit += TURN;
      lane.turn = this.#turns.push(lane);
    }
    return undefined;
  }

  /** Takes the value whose turn it is; `undefined` when the queue is empty. */
  shift(): T | undefined {
    const value = this.first;
    if (!value) return undefined;
    const lane = this.#places.get(value)?.lane;
    if (lane) lane.credit -= value.work;
    this.remove(value);
    return value;
  }

  /** Takes a value out, wherever it is. Nothing happens when it has already left. */
  remove(value: T): void {
    const place = this.#places.get(value);
    if (!place) return;
    this.#places.delete(value);
    this.#work -= value.work;
    const { lane, node } = place;
    if (!lane) {
      this.#returned.remove(node);
      return;
    }
    lane.values.remove(node);
    lane.work -= value.work;
    if (lane.values.size > 0) return;
    this.#lanes.delete(lane.client);
    if (lane.turn) this.#turns.remove(lane.turn);
  }

  /** Whether this client has something waiting. */
  has(client: string): boolean {
    return this.#lanes.has(client);
  }

  /** The work that is done before a next value of this client, as far as can be told: others come and go. */
  workBefore(client: string): number {
    const own = this.#lanes.get(client)?.work ?? 0;
    return Math.min(this.#work, (own + TURN) * this.#clientsWith(client));
  }

  /** Whether this client has as much of `places` as all clients have on average, or more. */
  hasItsShare(client: string, places: number): boolean {
    const own = this.#lanes.get(client)?.values.size ?? 0;
    return own * this.#clientsWith(client) >= places;
  }

  /** Clients with something waiting, this one counted in any case. */
  #clientsWith(client: string): number {
    return this.#lanes.size + (this.#lanes.has(client) ? 0 : 1);
  }
}
