import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { loopbackOf, PORT, type StubKubelet } from './kubelet.js';

/** One answer, or why there was none. */
interface Outcome {
  readonly pod: string;
  readonly ms: number;
  readonly digest: string | undefined;
  readonly failure: string | undefined;
}

/** A client that follows the EndpointSlices of a Service and never tries twice: a refused connection is a failed request. */
export class Load {
  readonly #kubelet: StubKubelet;
  readonly #service: string;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #open = new Set<Promise<void>>();
  #outcomes: Outcome[] = [];
  #running = true;
  #sent = 0;
  readonly #loop: Promise<void>;

  constructor(kubelet: StubKubelet, service: string, perSecond: number) {
    this.#kubelet = kubelet;
    this.#service = service;
    this.#loop = this.#send(1_000 / perSecond);
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
    await this.#loop;
    await Promise.all(this.#open);
    this.#agent.destroy();
  }

  async #send(everyMs: number): Promise<void> {
    for (let due = performance.now(); this.#running; due += everyMs) {
      await sleep(Math.max(0, due - performance.now()));
      const ready = this.#kubelet.endpoints.get(this.#service) ?? [];
      const chosen = ready[Math.floor(Math.random() * ready.length)];
      if (!chosen) {
        this.#outcomes.push({ pod: '-', ms: 0, digest: undefined, failure: 'the Service has no endpoint' });
        continue;
      }
      const asked = this.#ask(chosen).then((outcome) => {
        this.#outcomes.push(outcome);
        this.#open.delete(asked);
      });
      this.#open.add(asked);
    }
  }

  #ask({ address, pod }: { readonly address: string; readonly pod: string }): Promise<Outcome> {
    const began = performance.now();
    const body = JSON.stringify({ text: `I am hungry, please bring me number ${this.#sent++}` });
    return new Promise((resolve) => {
      const end = (failure: string | undefined, digest?: string): void =>
        resolve({ pod, ms: performance.now() - began, digest, failure });
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
        response.on('end', () => {
          if (response.statusCode !== 200) end(`${response.statusCode} ${text.slice(0, 200)}`);
          else end(undefined, (JSON.parse(text) as { routes_digest: string }).routes_digest);
        });
      });
      call.on('timeout', () => call.destroy(new Error('no answer within 30 s')));
      call.on('error', (error) => end(String(error)));
      call.end(body);
    });
  }
}
