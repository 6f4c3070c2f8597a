import type { AppError } from '../shared/errors.js';

/** What is asked about the queue before inference. */
export interface QueuePort {
  /**
   * Refuses a text of this client that nobody has read: says why not even a short one is let in now, or `undefined` where
   * one would be. Counts as a refusal like any other.
   */
  refuse(client: string): AppError | undefined;
}

/** Weight of the newest request in a client's share of refusals. */
const WEIGHT = 1 / 32;
/** Share of refusals above which a client's requests are refused before they are read. */
const SHED_ABOVE = 0.5;
/** Share of refusals below which a client is forgotten. */
const FORGET_BELOW = 0.05;
/** A client is forgotten when it asked for nothing for this long, in milliseconds. */
const FORGET_AFTER_MS = 10_000;
/** Clients that are remembered at most; the one that asked the longest ago gives way. */
const MAX_CLIENTS = 10_000;

/** What is known of a client that was refused. */
interface Refused {
  /** Share of its requests that were refused, as a moving average. */
  readonly share: number;
  /** When it asked last, on the clock of `performance.now()`. */
  readonly at: number;
}

/**
 * Refuses requests before they are read, which costs half of reading them first: in a flood, refusals take the
 * processor from the answers. Only of a client most of whose requests are refused anyway, and only while nothing more
 * of this client has room: its texts that need no inference, because their embeddings are cached, are refused
 * with the others.
 */
export class LoadShedder {
  readonly #queue: QueuePort;
  /** In the order in which they asked last, the latest last. */
  readonly #clients = new Map<string, Refused>();

  constructor(queue: QueuePort) {
    this.#queue = queue;
  }

  /** Whether nobody was refused lately. */
  get calm(): boolean {
    return this.#clients.size === 0;
  }

  /** Learns what came of a request for inference. */
  answered(client: string, refused: boolean, now = performance.now()): void {
    this.#forget(now);
    const known = this.#clients.get(client);
    if (!known && !refused) return;
    const share = (known?.share ?? FORGET_BELOW) * (1 - WEIGHT) + (refused ? WEIGHT : 0);
    this.#clients.delete(client);
    if (share >= FORGET_BELOW) this.#clients.set(client, { share, at: now });
  }

  /** Why this client's request is refused before it is read; `undefined` when it is to be read. */
  refuse(client: string, now = performance.now()): AppError | undefined {
    this.#forget(now);
    if ((this.#clients.get(client)?.share ?? 0) <= SHED_ABOVE) return undefined;
    const error = this.#queue.refuse(client);
    if (error) this.answered(client, true, now);
    return error;
  }

  #forget(now: number): void {
    for (const [client, { at }] of this.#clients) {
      if (now - at < FORGET_AFTER_MS && this.#clients.size < MAX_CLIENTS) break;
      this.#clients.delete(client);
    }
  }
}
