import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

/** A text with the answer that an undisturbed daemon gave. */
export interface Golden {
  readonly text: string;
  readonly answer: unknown;
}

/** What is asked all the time. */
export const TEXTS: readonly string[] = [
  'Write a Python function that merges two sorted lists',
  'What is the weather in Lisbon tomorrow?',
  'Translate this sentence into French',
  'What is 17 times 23?',
  'Tell me a story about a dragon',
  'Summarize the following article in three points',
];

/** Constant classification: every answer has to be the golden one. It holds its connections and opens no others. */
export class Load {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  /** A connection that is there for other questions, whatever the clients are doing. */
  readonly #other = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #url: string;
  readonly #golden: readonly Golden[];
  readonly #clients: Promise<void>[];
  readonly #faults: string[] = [];
  #going = true;
  #sent = 0;

  constructor(url: string, golden: readonly Golden[], clients = 2) {
    this.#url = url;
    this.#golden = golden;
    this.#clients = Array.from({ length: clients }, (_, index) => this.#run(index));
  }

  get sent(): number {
    return this.#sent;
  }

  /** Another question, over a connection that the first one opens. */
  async get<T>(path: string): Promise<T> {
    return (await call(this.#other, this.#url + path)).body as T;
  }

  /** Ends it; what is under way is awaited. */
  async stop(): Promise<{ sent: number; failed: number; faults: readonly string[] }> {
    this.#going = false;
    await Promise.all(this.#clients);
    this.#agent.destroy();
    this.#other.destroy();
    return { sent: this.#sent, failed: this.#faults.length, faults: this.#faults };
  }

  async #run(client: number): Promise<void> {
    for (let round = client; this.#going; round += 1) {
      const golden = this.#golden[round % this.#golden.length];
      if (!golden) return;
      this.#sent += 1;
      try {
        const { status, body } = await call(this.#agent, `${this.#url}/classify`, { text: golden.text });
        if (status !== 200) this.#faults.push(`${status} ${JSON.stringify(body)}`);
        else if (!isDeepStrictEqual(body, golden.answer)) this.#faults.push(`another answer: ${golden.text}`);
      } catch (error) {
        this.#faults.push(String(error));
      }
      await sleep(3);
    }
  }
}

/** Asks for the golden answers. */
export async function goldenAnswers(url: string): Promise<Golden[]> {
  const agent = new Agent();
  const golden: Golden[] = [];
  for (const text of TEXTS) {
    const { status, body } = await call(agent, `${url}/classify`, { text });
    if (status !== 200) throw new Error(`no golden answer: ${status} ${JSON.stringify(body)}`);
    golden.push({ text, answer: body });
  }
  agent.destroy();
  return golden;
}

function call(agent: Agent, url: string, json?: unknown): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        agent,
        method: json === undefined ? 'GET' : 'POST',
        headers: { 'content-type': 'application/json' },
        timeout: 60_000,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
        });
        response.on('error', reject).on('end', () => {
          const status = response.statusCode ?? 0;
          try {
            resolve({ status, body: text === '' ? undefined : JSON.parse(text) });
          } catch {
            // Something else listens there now: the daemon is gone, and its port was given to another.
            reject(new Error(`answered ${status} ${text.slice(0, 100)}`));
          }
        });
      },
    );
    sent.on('timeout', () => sent.destroy(new Error('no answer within 60 s')));
    sent.on('error', reject);
    sent.end(json === undefined ? undefined : JSON.stringify(json));
  });
}
