import { textOf } from '../bench/load/texts.js';
import { JSON_TYPE, requestOf } from './inputs/input.js';
import { type Answer, Wire } from './wire.js';

/** Whom the daemon takes a load for; by default nobody in particular. */
export interface Client {
  readonly key?: string;
  /** The address of this machine that it asks from. */
  readonly localAddress?: string;
  /** Whether each of its requests claims another address. */
  readonly forged?: boolean;
}

/** What a load was answered. */
export interface Answers {
  readonly sent: number;
  /** Latencies from when a request was due, in milliseconds. */
  readonly accepted: readonly number[];
  /** Of refusals that are as they should be: 429 or 503, with `Retry-After`. */
  readonly refused: readonly number[];
  /** Everything else, in words. */
  readonly odd: readonly string[];
}

let nextText = 0;

function nextRequest({ key, forged = false }: Client): Buffer {
  nextText += 1;
  const address = `198.51.${(nextText >> 8) & 255}.${nextText & 255}`;
  const more: (readonly [string, string])[] = [
    ...(key === undefined ? [] : [['Authorization', `Bearer ${key}`] as const]),
    ...(forged ? [['X-Forwarded-For', address] as const, ['X-Real-IP', address] as const] : []),
  ];
  return requestOf({
    what: 'a text that this process has not sent yet',
    path: '/classify',
    headers: [JSON_TYPE, ...more],
    body: JSON.stringify({ text: textOf(nextText) }),
    statuses: [],
  }).bytes;
}

/** Asks as one client, over as many connections as it takes, and writes down what it is answered. */
export class Asker implements Answers {
  readonly accepted: number[] = [];
  readonly refused: number[] = [];
  readonly odd: string[] = [];
  readonly #wire: Wire;
  readonly #client: Client;
  #sent = 0;

  constructor(url: string, client: Client = {}) {
    this.#wire = new Wire(url, { localAddress: client.localAddress });
    this.#client = client;
  }

  get sent(): number {
    return this.#sent;
  }

  /** One request, which was `due` at that moment. Never fails: what went wrong is written down. */
  async ask(due = performance.now()): Promise<void> {
    this.#sent += 1;
    try {
      const answer = await this.#wire.ask(nextRequest(this.#client), { timeoutMs: 60_000 });
      this.#note(answer, performance.now() - due);
    } catch (error) {
      this.odd.push(String(error));
    }
  }

  /** Closes its connections. */
  end(): Answers {
    this.#wire.close();
    const { sent, accepted, refused, odd } = this;
    return { sent, accepted, refused, odd };
  }

  #note(answer: Answer | undefined, ms: number): void {
    const refusal = answer?.status === 503 || answer?.status === 429;
    if (answer?.status === 200) this.accepted.push(ms);
    else if (refusal && Number(answer.headers.get('retry-after')) >= 1) this.refused.push(ms);
    else if (answer) this.odd.push(`${answer.status} ${answer.body.toString('utf8', 0, 200)}`);
    else this.odd.push('closed without an answer');
  }
}
