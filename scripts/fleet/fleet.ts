import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.js';
import { type Endpoint, type Endpoints, urlOf } from './endpoints.js';
import type { StubKubelet } from './kubelet.js';
import { Load } from './load.js';
import type { RunningPod } from './pod.js';
import { messageOf, report, row, say, until } from './report.js';

/** How long all replicas may take to agree once the file or the leader has changed, in ms. */
const AGREE_MS = 5_000;

export interface FleetOptions {
  readonly api: Api;
  readonly endpoints: Endpoints;
  readonly kubelet: StubKubelet;
  readonly namespace: string;
  readonly perSecond: number;
  /** Until the driver acts on a change of the endpoints, in ms. */
  readonly endpointDelayMs: number;
}

/** A release of the chart under constant load. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly service: string;
  readonly release: string;
  #load: Load | undefined;

  constructor(release: string, options: FleetOptions) {
    this.#options = options;
    this.release = release;
    this.service = `${options.namespace}/${release}-ai-router`;
  }

  get ready(): readonly Endpoint[] {
    return this.#options.endpoints.ready(this.service);
  }

  /** The pods of the replicas. */
  get replicas(): readonly RunningPod[] {
    const { kubelet, namespace } = this.#options;
    const own = (labels: Readonly<Record<string, string>> = {}): boolean =>
      labels['app.kubernetes.io/instance'] === this.release &&
      labels['app.kubernetes.io/component'] === 'replica';
    return kubelet.pods(namespace).filter(({ pod }) => own(pod.metadata.labels));
  }

  get leader(): RunningPod {
    const { kubelet, namespace } = this.#options;
    const name = `${this.release}-ai-router-leader-0`;
    const found = kubelet.pods(namespace).find((pod) => pod.name === name);
    if (!found) throw new Error('no leader');
    return found;
  }

  /** Installs or upgrades the release. */
  helm(values: object): Promise<string> {
    const { api, namespace } = this.#options;
    const args = ['upgrade', '--install', this.release, 'deploy/helm/ai-router', '-n', namespace, '-f', '-'];
    return api.helm(args, JSON.stringify(values));
  }

  kubectl(...args: string[]): Promise<string> {
    const { api, namespace } = this.#options;
    return api.kubectl(['-n', namespace, ...args]);
  }

  rolledOut(): Promise<string> {
    return this.kubectl('rollout', 'status', `deployment/${this.release}-ai-router`, '--timeout=300s');
  }

  /** Waits until so many replicas are ready, and none besides them is left. */
  async settled(count: number): Promise<void> {
    await until(`${count} replicas`, () => this.ready.length === count && this.replicas.length === count);
  }

  startLoad(more: { readonly words?: number; readonly most?: number } = {}): void {
    const { endpoints, perSecond, endpointDelayMs: delayMs } = this.#options;
    this.#load = new Load(endpoints, { service: this.service, perSecond, delayMs, ...more });
  }

  rate(perSecond: number): void {
    if (this.#load) this.#load.perSecond = perSecond;
  }

  async endLoad(): Promise<void> {
    await this.#load?.end();
    this.#load = undefined;
  }

  /** Runs a scenario under the load, and counts. Failures of `killed` pods are counted apart. */
  async under(name: string, work: () => Promise<string>, killed: readonly string[] = []): Promise<void> {
    const load = this.#load;
    if (!load) throw new Error('no load');
    load.take();
    const began = performance.now();
    let ok = true;
    const facts = await work().catch((error: unknown) => {
      ok = false;
      return messageOf(error);
    });
    await sleep(2_000);
    const outcomes = load.take();
    const seconds = Math.round((performance.now() - began) / 1_000);
    const failures = outcomes.filter(({ failure }) => failure !== undefined);
    const counted = failures.filter(({ pod }) => !killed.includes(pod));
    const excused = failures.length - counted.length;
    const times = outcomes.map(({ ms }) => ms).sort((a, b) => a - b);
    const p99 = Math.round(times[Math.floor(times.length * 0.99)] ?? 0);
    const pods = new Set(outcomes.map(({ pod }) => pod)).size;
    row(name, seconds, outcomes.length, pods, counted.length, killed.length > 0 ? excused : '', p99);
    report(
      name,
      ok && counted.length === 0 && outcomes.length > 0,
      `${outcomes.length} requests to ${pods} pods in ${seconds} s, ${counted.length} failed` +
        `${killed.length > 0 ? `, ${excused} of the killed pod` : ''}, p99 ${p99} ms; ${facts}`,
    );
    for (const { pod, failure } of counted.slice(0, 3)) say(`         ${pod}: ${failure}`);
  }

  /** Digests of the routes that the ready replicas serve. */
  async digests(): Promise<ReadonlySet<string>> {
    const checks = await Promise.all(this.ready.map((endpoint) => routesCheck(endpoint)));
    return new Set(checks.map(({ digest }) => digest ?? '-'));
  }

  /** Waits until all replicas have one digest that none had before; reports how long after `since` that was. */
  async agree(name: string, before: ReadonlySet<string>, since: () => number): Promise<void> {
    await until(
      'one digest',
      async () => {
        const now = await this.digests();
        return now.size === 1 && [...now].every((digest) => !before.has(digest));
      },
      300_000,
    );
    const took = Math.round(performance.now() - since());
    report(name, took < AGREE_MS, `${this.ready.length} replicas have one digest after ${took} ms`);
  }
}

interface RoutesCheck {
  readonly ok: boolean;
  readonly digest?: string;
  readonly detail?: string;
  readonly age_s?: number;
}

/** State of a daemon's routes. */
export async function routesCheck(endpoint: { readonly address: string }): Promise<RoutesCheck> {
  const answer = await fetch(`${urlOf(endpoint)}/health`);
  return ((await answer.json()) as { checks: { routes: RoutesCheck } }).checks.routes;
}

/** Adds a route as an administrator does. */
export async function put(
  endpoint: { readonly address: string },
  key: string,
  name: string,
): Promise<{ status: number; detail: string }> {
  const url = urlOf(endpoint);
  const etag = (await fetch(`${url}/routes`)).headers.get('etag') ?? '';
  const answer = await fetch(`${url}/routes/${name}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${key}`, 'if-match': etag, 'content-type': 'application/json' },
    body: JSON.stringify({ utterances: [`book a ${name}`, `a ${name} to Rome`] }),
  });
  const { detail = '' } = (await answer.json()) as { detail?: string };
  return { status: answer.status, detail };
}
