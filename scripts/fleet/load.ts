import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { textOfWords } from '../../test/support/load.js';
import { type Endpoint, type Endpoints, loopbackOf, PORT } from './endpoints.js';

/** One answer, or why there was none. */
interface Outcome {
  readonly pod: string;
  readonly ms: number;
  readonly failure: string | undefined;
}

export interface LoadOptions {
  readonly service: string;
  readonly perSecond: number;
  /** Until a change of the endpoints is acted on, in ms: a proxy on another node takes as long. */
  readonly delayMs: number;
  /** Words of a text; default: a short one. */
  readonly words?: number;
  /** Requests under way at most: what is due beyond them is left out. */
  readonly most?: number;
}

/**
 * A client that follows the EndpointSlices of a Service and never tries twice: a refused connection is a failed request.
 */
export class Load {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #open = new Set<Promise<void>>();
  readonly #unfollow: () => void;
  readonly #loop: Promise<void>;
  #targets: readonly Endpoint[];
  #outcomes: Outcome[] = [];
  #running = true;
  #sent = 0;
  readonly #words: number | undefined;
  readonly #most: number;
  perSecond: number;

  constructor(endpoints: Endpoints, { service, perSecond, delayMs, words, most }: LoadOptions) {
    this.#words = words;
    this.#most = most ?? Number.POSITIVE_INFINITY;
    this.perSecond = perSecond;
    this.#targets = endpoints.ready(service);
    this.#unfollow = endpoints.onChange(() => {
      const targets = endpoints.ready(service);
      setTimeout(() => {
        this.#targets = targets;
      }, delayMs);
    });
    this.#loop = this.#send();
  }

  /** The outcomes since the last call. */
  take(): readonly Outcome[] {
    const taken = this.#outcomes;
    this.#outcomes = [];
    return taken;
  }

  /** Ends once the last answer is there. */
  async end(): Promise<void> {
    this.#running = false;
    this.#unfollow();
    await this.#loop;
    await Promise.all(this.#open);
    this.#agent.destroy();
  }

  async #send(): Promise<void> {
    for (let due = performance.now(); this.#running; due += 1_000 / this.perSecond) {
      await sleep(Math.max(0, due - performance.now()));
      if (this.#open.size >= this.#most) continue;
      const chosen = this.#targets[Math.floor(Math.random() * this.#targets.length)];
      if (!chosen) {
        this.#outcomes.push({ pod: '-', ms: 0, failure: 'the Service has no endpoint' });
        continue;
      }
      const asked = this.#ask(chosen).then((outcome) => {
        this.#outcomes.push(outcome);
        this.#open.delete(asked);
      });
      this.#open.add(asked);
    }
  }

  #ask({ address, pod }: Endpoint): Promise<Outcome> {
    const began = performance.now();
    const number = this.#sent++;
    const text =
      this.#words === undefined
        ? `I am hungry, please bring me number ${number}`
        : textOfWords(this.#words, number);
    const body = JSON.stringify({ text });
    return new Promise((resolve) => {
      const end = (failure?: string): void => resolve({ pod, ms: performance.now() - began, failure });
      const options = {
        host: loopbackOf(address),
        port: PORT,
        path: '/classify',
        method: 'POST',
        agent: this.#agent,
        timeout: 30_000,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      };
      const call = request(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
        });
        response.on('error', (error) => end(String(error)));
        response.on('end', () =>
          end(response.statusCode === 200 ? undefined : `${response.statusCode} ${text.slice(0, 200)}`),
        );
      });
      call.on('timeout', () => call.destroy(new Error('no answer within 30 s')));
      call.on('error', (error) => end(String(error)));
      call.end(body);
    });
  }
}
