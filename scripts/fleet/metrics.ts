import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { CERTIFICATE } from '../../test/support/certificate.js';
import { childrenOf, cpuMsOf, memoryOf } from '../../test/support/processes.js';
import type { Api } from './api.js';
import type { StubKubelet } from './kubelet.js';
import type { RunningPod } from './pod.js';

const GROUP = '/apis/metrics.k8s.io/v1beta1';
/** How often CPU time is read, in ms: the window of each figure. */
export const WINDOW_MS = 5_000;

interface Sample {
  readonly at: number;
  readonly cpuMs: number;
  readonly usage: number | undefined;
}

/**
 * A stub of metrics.k8s.io behind the API server's aggregation layer: the CPU time that the processes of the pods really
 * used, from /proc, for the real HPA controller.
 */
export class PodMetrics {
  readonly #kubelet: StubKubelet;
  readonly #samples = new Map<RunningPod, Sample>();
  readonly #server: Server;
  readonly #timer: NodeJS.Timeout;

  private constructor(kubelet: StubKubelet) {
    this.#kubelet = kubelet;
    this.#server = createServer(CERTIFICATE, (request, response) => this.#answer(request.url, response));
    this.#timer = setInterval(() => this.#sample(), WINDOW_MS);
  }

  static async serve(api: Api, kubelet: StubKubelet): Promise<PodMetrics> {
    const metrics = new PodMetrics(kubelet);
    metrics.#server.listen(0, '127.0.0.1');
    await once(metrics.#server, 'listening');
    const { port } = metrics.#server.address() as AddressInfo;
    await api.aggregate('metrics.k8s.io', { name: 'metrics', port });
    return metrics;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #sample(): void {
    const before = new Map(this.#samples);
    this.#samples.clear();
    for (const pod of this.#kubelet.pods()) {
      if (pod.pid === undefined) continue;
      const at = performance.now();
      const cpuMs = processesOf(pod.pid).reduce((sum, pid) => sum + cpuMsOf(pid), 0);
      const last = before.get(pod);
      const usage = last && cpuMs >= last.cpuMs ? (cpuMs - last.cpuMs) / (at - last.at) : undefined;
      this.#samples.set(pod, { at, cpuMs, usage });
    }
  }

  #answer(url = '', response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url, 'https://localhost');
    const namespace = /\/namespaces\/([^/]+)\/pods$/.exec(pathname)?.[1];
    const pods = {
      name: 'pods',
      singularName: '',
      namespaced: true,
      kind: 'PodMetrics',
      verbs: ['get', 'list'],
    };
    const answer =
      pathname === GROUP
        ? {
            kind: 'APIResourceList',
            apiVersion: 'v1',
            groupVersion: 'metrics.k8s.io/v1beta1',
            resources: [pods],
          }
        : namespace && this.#list(namespace, searchParams.get('labelSelector') ?? '');
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? {}));
  }

  #list(namespace: string, selector: string): object {
    const wanted = selector.split(',').map((term) => term.split('='));
    const selected = this.#kubelet
      .pods(namespace)
      .filter(({ pod }) => wanted.every(([key = '', value]) => pod.metadata.labels?.[key] === value));
    const items = selected.flatMap((pod) => {
      const { at = 0, usage } = this.#samples.get(pod) ?? {};
      if (usage === undefined || pod.pid === undefined) return [];
      const { name, labels } = pod.pod.metadata;
      const memory = `${Math.round(memoryOf(processesOf(pod.pid)) * 1_000)}k`;
      return {
        metadata: { name, namespace, labels },
        timestamp: new Date(Date.now() - (performance.now() - at)).toISOString(),
        window: `${WINDOW_MS / 1_000}s`,
        containers: [{ name: 'ai-router', usage: { cpu: `${Math.round(usage * 1_000)}m`, memory } }],
      };
    });
    return { kind: 'PodMetricsList', apiVersion: 'metrics.k8s.io/v1beta1', metadata: {}, items };
  }
}

const processesOf = (pid: number): number[] => [pid, ...childrenOf(pid)];
