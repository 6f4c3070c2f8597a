import type { AppError } from '../errors.js';

/** What is asked about the queue before inference. */
export interface QueuePort {
  /** Why not even a short text of this client would be let in now; `undefined` when one would. */
  refusal(client: string): AppError | undefined;
}

/** Weight of the newest request in a client's share of refusals. */
const WEIGHT = 1 / 32;
/** Share of refusals above which a client's requests are refused before they are read. */
const SHED_ABOVE = 0.5;
/** Share of refusals below which a client is forgotten. */
const FORGET_BELOW = 0.05;
/** Clients that are remembered at most; the others' requests are read before they are refused. */
const MAX_CLIENTS = 10_000;

/**
 * Refuses requests before they are read, which costs half of reading them first: in a flood, refusals take the
 * processor from the answers. Only of a client most of whose requests are refused anyway, and only while nothing more
 * of this client has room: its texts that need no inference, because their embeddings are cached, are refused
 * with the others.
 */
export class LoadShedder {
  readonly #queue: QueuePort;
  /** By client, as a moving average; only of those who were refused lately. */
  readonly #refusedShare = new Map<string, number>();

  constructor(queue: QueuePort) {
    this.#queue = queue;
  }

  /** Whether nobody was refused lately. */
  get calm(): boolean {
    return this.#refusedShare.size === 0;
  }

  /** Learns what came of a request for inference. */
  answered(client: string, refused: boolean): void {
    const share = this.#refusedShare.get(client);
    if (share === undefined && (!refused || this.#refusedShare.size >= MAX_CLIENTS)) return;
    const next = (share ?? FORGET_BELOW) * (1 - WEIGHT) + (refused ? WEIGHT : 0);
    if (next < FORGET_BELOW) this.#refusedShare.delete(client);
    else this.#refusedShare.set(client, next);
  }

  /** Why this client's request is refused before it is read; `undefined` when it is to be read. */
  refusal(client: string): AppError | undefined {
    if ((this.#refusedShare.get(client) ?? 0) <= SHED_ABOVE) return undefined;
    return this.#queue.refusal(client);
  }
}
