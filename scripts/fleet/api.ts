import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The parts of Kubernetes objects that are read here. */
export interface Resource {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

/** A client of the API server, and kubectl for what people type. */
export class Api {
  readonly #kubeconfig: string;
  readonly #server: string;
  readonly #token: string;
  // The certificate of the local server is its own.
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false });

  private constructor(kubeconfig: string, server: string, token: string) {
    this.#kubeconfig = kubeconfig;
    this.#server = server;
    this.#token = token;
  }

  static async open(kubeconfig: string): Promise<Api> {
    const text = await readFile(kubeconfig, 'utf8');
    const server = /server: "?(https:[^"}\s]+)/.exec(text)?.[1];
    const token = /token: "?([^"}\s]+)/.exec(text)?.[1];
    if (!server || !token) throw new Error(`${kubeconfig} names no server or token`);
    return new Api(kubeconfig, server, token);
  }

  /** @throws Error with the server's message when it refuses */
  call<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
      const headers = {
        authorization: `Bearer ${this.#token}`,
        'content-type': type,
        'content-length': Buffer.byteLength(text),
      };
      const call = request(this.#server + path, { method, headers, agent: this.#agent }, (response) => {
        let answer = '';
        response.setEncoding('utf8').on('data', (piece: string) => {
          answer += piece;
        });
        response.on('end', () => {
          if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(answer) as T);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${answer.slice(0, 300)}`));
        });
        response.on('error', reject);
      });
      call.on('error', reject);
      call.end(text);
    });
  }

  async list<T extends Resource>(path: string): Promise<readonly T[]> {
    return (await this.call<{ items: readonly T[] }>('GET', path)).items;
  }

  /** Runs kubectl; `input` is its standard input. */
  async kubectl(args: readonly string[], input?: string): Promise<string> {
    const running = run('kubectl', args, {
      env: { ...process.env, KUBECONFIG: this.#kubeconfig },
      maxBuffer: 2 ** 26,
    });
    running.child.stdin?.end(input);
    return (await running).stdout;
  }

  close(): void {
    this.#agent.destroy();
  }
}
