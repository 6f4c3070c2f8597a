import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The parts of Kubernetes objects that are read here. */
export interface Resource {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly creationTimestamp: string;
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

interface List<T> {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly T[];
}

/** A client of the API server, with kubectl and helm for what people type. */
export class Api {
  readonly #kubeconfig: string;
  readonly #server: string;
  readonly #token: string;
  // The certificate of the local server is its own.
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  readonly #stop = new AbortController();
  readonly #watches: Promise<void>[] = [];
  /** The program helm. */
  readonly #helm: string;

  private constructor(kubeconfig: string, server: string, token: string, helm: string) {
    this.#kubeconfig = kubeconfig;
    this.#server = server;
    this.#token = token;
    this.#helm = helm;
  }

  static async open(kubeconfig: string, helm: string): Promise<Api> {
    const text = await readFile(kubeconfig, 'utf8');
    const server = /server: "?(https:[^"}\s]+)/.exec(text)?.[1];
    const token = /token: "?([^"}\s]+)/.exec(text)?.[1];
    if (!server || !token) throw new Error(`${kubeconfig} names no server or token`);
    return new Api(kubeconfig, server, token, helm);
  }

  /** @throws Error with the server's message when it refuses */
  async call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#send(method, path, body);
    let answer = '';
    for await (const piece of response.setEncoding('utf8')) answer += piece;
    if ((response.statusCode ?? 500) < 300) return JSON.parse(answer) as T;
    throw new Error(`${method} ${path}: ${response.statusCode} ${answer.slice(0, 300)}`);
  }

  /** Lets the API server ask a server on this machine for an API group of version v1beta1. */
  async aggregate(
    group: string,
    { name, port }: { readonly name: string; readonly port: number },
  ): Promise<void> {
    const namespace = 'kube-system';
    // The aggregation layer takes an external name for the address of a Service.
    await this.call('POST', `/api/v1/namespaces/${namespace}/services`, {
      metadata: { name },
      spec: { type: 'ExternalName', externalName: 'localhost' },
    });
    const version = 'v1beta1';
    await this.call('POST', '/apis/apiregistration.k8s.io/v1/apiservices', {
      metadata: { name: `${version}.${group}` },
      spec: {
        group,
        version,
        service: { name, namespace, port },
        insecureSkipTLSVerify: true,
        groupPriorityMinimum: 100,
        versionPriority: 100,
      },
    });
  }

  #send(method: string, path: string, body?: object): Promise<IncomingMessage> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${this.#token}`,
      'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      'content-length': Buffer.byteLength(text),
    };
    return new Promise((resolve, reject) => {
      const { signal } = this.#stop;
      const call = request(
        this.#server + path,
        { method, headers, agent: this.#agent, ...(method === 'GET' && { signal }) },
        resolve,
      );
      call.on('error', reject);
      call.end(text);
    });
  }

  /**
   * Follows the objects of a path by list and watch until `close`: `changed` gets each object, and whether it is gone.
   * Resolves once the first list is there.
   */
  watch<T extends Resource>(path: string, changed: (object: T, gone: boolean) => void): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      const follow = async (): Promise<void> => {
        let known: readonly T[] = [];
        while (!signal.aborted) {
          try {
            const { items, metadata } = await this.call<List<T>>('GET', path);
            const uids = new Set(items.map((item) => item.metadata.uid));
            for (const object of known) if (!uids.has(object.metadata.uid)) changed(object, true);
            for (const object of items) changed(object, false);
            resolve();
            known = await this.#events(path, metadata.resourceVersion, items, changed);
          } catch (error) {
            if (!signal.aborted) process.stderr.write(`watch of ${path}: ${error}; listed again\n`);
            await sleep(500);
          }
        }
      };
      this.#watches.push(follow());
    });
  }

  /** Passes events on until the watch ends; returns the objects that are known then. */
  async #events<T extends Resource>(
    path: string,
    version: string,
    items: readonly T[],
    changed: (object: T, gone: boolean) => void,
  ): Promise<readonly T[]> {
    const known = new Map(items.map((item) => [item.metadata.uid, item]));
    const response = await this.#send('GET', `${path}?watch=1&resourceVersion=${version}`);
    for await (const line of createInterface({ input: response })) {
      const { type, object } = JSON.parse(line) as { type: string; object: T };
      if (type === 'ERROR') break;
      if (type === 'DELETED') known.delete(object.metadata.uid);
      else known.set(object.metadata.uid, object);
      changed(object, type === 'DELETED');
    }
    return [...known.values()];
  }

  /** Runs kubectl; `input` is its standard input. Returns its standard output. */
  async kubectl(args: readonly string[], input?: string): Promise<string> {
    return (await this.run('kubectl', args, input)).stdout;
  }

  /** Runs helm, likewise. */
  async helm(args: readonly string[], input?: string): Promise<string> {
    return (await this.run(this.#helm, args, input)).stdout;
  }

  /** Runs a program as a user of the cluster. */
  run(
    program: string,
    args: readonly string[],
    input?: string,
  ): Promise<{ readonly stdout: string; readonly stderr: string }> {
    const running = run(program, args, {
      env: { ...process.env, KUBECONFIG: this.#kubeconfig },
      maxBuffer: 2 ** 26,
    });
    running.child.stdin?.end(input);
    return running;
  }

  /** Ends every watch. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#watches);
    this.#agent.destroy();
  }
}
