import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, Resource } from './api.js';

/** Interval in ms at which the stub looks at pods, Services and ConfigMaps: later than a watch would tell. */
const LOOK_MS = 250;
/** Interval of the nodes' heartbeats in ms. */
const HEARTBEAT_MS = 10_000;
export const PORT = 3_000;

interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
}

interface Probe {
  readonly httpGet: { readonly path: string };
  readonly periodSeconds: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold: number;
}

export interface Pod extends Resource {
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly {
      readonly name: string;
      readonly image: string;
      readonly env?: readonly EnvVar[];
      readonly startupProbe: Probe;
      readonly readinessProbe: Probe;
      readonly livenessProbe: Probe;
      readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
      readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
    }[];
    readonly volumes?: readonly {
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly persistentVolumeClaim?: { readonly claimName: string };
    }[];
  };
}

export interface Slice extends Resource {
  /** `null` where there are none. */
  readonly endpoints:
    | readonly {
        readonly addresses: readonly string[];
        readonly conditions: { readonly ready?: boolean };
        readonly targetRef?: { readonly name: string };
      }[]
    | null;
}

/** Addresses of endpoints may not be loopback: each pod has one of TEST-NET-2, which stands for one of loopback. */
export const loopbackOf = (address: string): string => address.replace(/^198\.51\./, '127.51.');

/**
 * Stands for the kubelets and kube-proxies of some nodes: starts the real daemon for each pod, with its environment, its
 * folders and its probes, and tells the API server how it is.
 */
export class StubKubelet {
  readonly #api: Api;
  readonly #namespace: string;
  readonly #folder: string;
  readonly #configMapDelayMs: number;
  readonly #pods = new Map<string, RunningPod>();
  readonly #proxies = new Map<string, Promise<{ address: string; server: Server }>>();
  readonly #stop = new AbortController();
  readonly #loops: Promise<void>[] = [];
  #nextAddress = 1;
  /** Ready addresses of each Service, with the pods' names. */
  endpoints: ReadonlyMap<string, readonly { readonly address: string; readonly pod: string }[]> = new Map();

  constructor(api: Api, options: { namespace: string; folder: string; configMapDelayMs: number }) {
    this.#api = api;
    this.#namespace = options.namespace;
    this.#folder = options.folder;
    this.#configMapDelayMs = options.configMapDelayMs;
  }

  get pods(): readonly RunningPod[] {
    return [...this.#pods.values()];
  }

  async start(nodes: readonly string[]): Promise<void> {
    for (const name of nodes) {
      const metadata = { name, labels: { 'kubernetes.io/hostname': name } };
      await this.#api.call('POST', '/api/v1/nodes', { kind: 'Node', metadata }).catch(() => undefined);
    }
    const beat = async (): Promise<void> => {
      const now = new Date().toISOString();
      for (const name of nodes) {
        const room = { cpu: '16', memory: '32Gi', pods: '110', 'ephemeral-storage': '64Gi' };
        const ready = {
          type: 'Ready',
          status: 'True',
          reason: 'Stub',
          lastHeartbeatTime: now,
          lastTransitionTime: now,
        };
        const status = { capacity: room, allocatable: room, conditions: [ready] };
        await this.#api.call('PATCH', `/api/v1/nodes/${name}/status`, { status });
      }
    };
    await beat();
    this.#loops.push(
      this.#every(HEARTBEAT_MS, beat),
      this.#every(LOOK_MS, () => this.#look()),
    );
  }

  /** Ends every process. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
    await Promise.all(this.pods.map((pod) => pod.stop(0)));
    for (const proxy of this.#proxies.values()) (await proxy).server.close();
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await work().catch(
        (error: unknown) => signal.aborted || process.stderr.write(`stub kubelet: ${error}\n`),
      );
      await sleep(ms, undefined, { signal }).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const base = `/api/v1/namespaces/${this.#namespace}`;
    const slices = await this.#api.list<Slice>(
      `/apis/discovery.k8s.io/v1/namespaces/${this.#namespace}/endpointslices`,
    );
    const endpoints = new Map<string, { address: string; pod: string }[]>();
    for (const { metadata, endpoints: found } of slices) {
      const service = metadata.labels?.['kubernetes.io/service-name'] ?? '';
      const ready = (found ?? []).filter(({ conditions }) => conditions.ready === true);
      const known = endpoints.get(service) ?? [];
      known.push(
        ...ready.map(({ addresses: [address = ''], targetRef }) => ({ address, pod: targetRef?.name ?? '' })),
      );
      endpoints.set(service, known);
    }
    this.endpoints = endpoints;
    const pods = await this.#api.list<Pod>(`${base}/pods`);
    for (const pod of pods) {
      const { uid, deletionTimestamp, deletionGracePeriodSeconds = 30 } = pod.metadata;
      let running = this.#pods.get(uid);
      if (!running && pod.spec.nodeName && !deletionTimestamp) {
        running = new RunningPod(this.#api, pod, `198.51.100.${this.#nextAddress++}`);
        this.#pods.set(uid, running);
        void running.run(await this.#environmentOf(pod, running)).catch((error: unknown) => {
          process.stderr.write(`${pod.metadata.name}: ${error}\n`);
        });
      }
      if (running && deletionTimestamp)
        void running.stop(deletionGracePeriodSeconds).then(() => this.#pods.delete(uid));
      else if (running) await this.#layConfigMaps(pod, running);
    }
  }

  /** The settings of a pod, with folders of this machine in place of its own, and addresses in place of Services' names. */
  async #environmentOf({ metadata, spec }: Pod, { address }: RunningPod): Promise<Record<string, string>> {
    const [container] = spec.containers;
    const folders = new Map<string, string>();
    for (const { name, mountPath } of container?.volumeMounts ?? []) {
      const claim = spec.volumes?.find((volume) => volume.name === name)?.persistentVolumeClaim?.claimName;
      const folder = join(this.#folder, claim ?? metadata.uid, name);
      await mkdir(folder, { recursive: true });
      folders.set(mountPath, folder);
    }
    const env: Record<string, string> = { HOST: loopbackOf(address), PORT: String(PORT) };
    for (const { name, value = '', valueFrom } of container?.env ?? []) {
      let text = value;
      if (valueFrom) {
        const { name: secret, key } = valueFrom.secretKeyRef;
        const path = `/api/v1/namespaces/${this.#namespace}/secrets/${secret}`;
        const { data = {} } = await this.#api.call<{ data?: Record<string, string> }>('GET', path);
        text = Buffer.from(data[key] ?? '', 'base64').toString();
      }
      const mount = [...folders.keys()].find((path) => value.startsWith(path));
      if (mount) text = folders.get(mount) + value.slice(mount.length);
      const service = /^http:\/\/([a-z0-9-]+):3000/.exec(text)?.[1];
      if (service) text = text.replace(service, (await this.#proxyOf(service)).address);
      env[name] = text;
    }
    return env;
  }

  /** Forwards connections to a Service to one of its ready endpoints, as kube-proxy does. */
  #proxyOf(service: string): Promise<{ address: string; server: Server }> {
    const address = `127.52.0.${this.#proxies.size + 1}`;
    const proxy =
      this.#proxies.get(service) ??
      new Promise<{ address: string; server: Server }>((resolve, reject) => {
        const server = createServer((socket: Socket) => {
          const ready = this.endpoints.get(service) ?? [];
          const chosen = ready[Math.floor(Math.random() * ready.length)];
          if (!chosen) {
            socket.resetAndDestroy();
            return;
          }
          const target = connect({ host: loopbackOf(chosen.address), port: PORT });
          socket.on('error', () => target.destroy());
          target.on('error', () => socket.destroy());
          socket.pipe(target).pipe(socket);
        });
        server.once('error', reject);
        server.listen(PORT, address, () => resolve({ address, server }));
      });
    this.#proxies.set(service, proxy);
    return proxy;
  }

  /** Lays a ConfigMap out as the kubelet does: a new folder, and a link that is renamed over the old one. */
  async #layConfigMaps({ metadata, spec }: Pod, running: RunningPod): Promise<void> {
    for (const { name, configMap } of spec.volumes ?? []) {
      if (!configMap) continue;
      const path = `/api/v1/namespaces/${this.#namespace}/configmaps/${configMap.name}`;
      const { data, metadata: found } = await this.#api.call<Resource & { data: Record<string, string> }>(
        'GET',
        path,
      );
      const before = running.laid.get(name);
      if (before === found.resourceVersion) continue;
      running.laid.set(name, found.resourceVersion);
      const folder = join(this.#folder, metadata.uid, name);
      const lay = async (): Promise<void> => {
        const version = `..${found.resourceVersion}`;
        await mkdir(join(folder, version), { recursive: true });
        for (const [file, text] of Object.entries(data)) {
          await writeFile(join(folder, version, file), text);
          await symlink(join('..data', file), join(folder, file)).catch(() => undefined);
        }
        await symlink(version, join(folder, '..new'));
        await rename(join(folder, '..new'), join(folder, '..data'));
        if (before) await rm(join(folder, `..${before}`), { recursive: true, force: true });
      };
      if (before === undefined) {
        await lay();
        running.mounted();
      } else void sleep(this.#configMapDelayMs).then(lay);
    }
    if (!spec.volumes?.some(({ configMap }) => configMap)) running.mounted();
  }
}

/** A pod of one container: the real daemon in a process of its own. */
export class RunningPod {
  readonly #api: Api;
  readonly pod: Pod;
  readonly address: string;
  readonly name: string;
  /** Versions of the ConfigMaps that are laid out, by volume. */
  readonly laid = new Map<string, string>();
  readonly #mounted: Promise<void>;
  mounted: () => void = () => undefined;
  #child: ChildProcess | undefined;
  #stopping: Promise<void> | undefined;
  #ready = false;
  #restarts = 0;

  constructor(api: Api, pod: Pod, address: string) {
    this.#api = api;
    this.pod = pod;
    this.address = address;
    this.name = pod.metadata.name;
    this.#mounted = new Promise((resolve) => {
      this.mounted = resolve;
    });
  }

  /** Runs the container, and again when it ends, until the pod is deleted. */
  async run(env: Record<string, string>): Promise<void> {
    await this.#mounted;
    for (; !this.#stopping; this.#restarts += 1) {
      const child = spawn(process.execPath, ['dist/main.js', 'serve'], {
        env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const log = createWriteStream(`${env.MODEL_CACHE_DIR}.${this.name}.log`, { flags: 'a' });
      child.stdout?.pipe(log);
      child.stderr?.pipe(log);
      this.#child = child;
      // However this process ends, its pods end with it.
      const end = (): boolean => child.kill('SIGKILL');
      process.once('exit', end);
      child.once('exit', () => process.off('exit', end));
      const ended = once(child, 'exit');
      await this.#patch(false);
      const probing = new AbortController();
      void this.#probe(probing.signal);
      await ended;
      probing.abort();
      if (!this.#stopping) await this.#patch(false);
    }
  }

  /** Ends the container without a warning; it is started again. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  /** preStop, SIGTERM, grace, SIGKILL; then the pod is gone. */
  stop(graceSeconds: number): Promise<void> {
    this.#stopping ??= this.#end(graceSeconds);
    return this.#stopping;
  }

  async #end(graceSeconds: number): Promise<void> {
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceSeconds * 1_000);
      const preStop = this.pod.spec.containers[0]?.lifecycle?.preStop?.sleep?.seconds ?? 0;
      await Promise.race([sleep(preStop * 1_000), ended]);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(timer);
    }
    const path = `/api/v1/namespaces/${this.pod.metadata.namespace}/pods/${this.name}`;
    await this.#api.call('DELETE', path, { gracePeriodSeconds: 0 }).catch(() => undefined);
  }

  async #probe(signal: AbortSignal): Promise<void> {
    const [container] = this.pod.spec.containers;
    if (!container) return;
    const { startupProbe, readinessProbe, livenessProbe } = container;
    while (!signal.aborted && !(await this.#ask(startupProbe)))
      await sleep(startupProbe.periodSeconds * 1_000);
    const watch = async (probe: Probe, told: (ok: boolean) => void | Promise<void>): Promise<void> => {
      for (let failures = 0; !signal.aborted; await sleep(probe.periodSeconds * 1_000)) {
        const ok = await this.#ask(probe);
        failures = ok ? 0 : failures + 1;
        if (!signal.aborted && (ok || failures >= probe.failureThreshold)) await told(ok);
      }
    };
    void watch(readinessProbe, async (ok) => {
      if (ok !== this.#ready) await this.#patch(ok);
    });
    void watch(livenessProbe, (ok) => {
      if (!ok && !this.#stopping) this.kill();
    });
  }

  async #ask({ httpGet, timeoutSeconds = 1 }: Probe): Promise<boolean> {
    const signal = AbortSignal.timeout(timeoutSeconds * 1_000);
    return fetch(`http://${loopbackOf(this.address)}:${PORT}${httpGet.path}`, { signal }).then(
      async (answer) => {
        await answer.arrayBuffer();
        return answer.ok;
      },
      () => false,
    );
  }

  async #patch(ready: boolean): Promise<void> {
    this.#ready = ready;
    const [container] = this.pod.spec.containers;
    const now = new Date().toISOString();
    const truth = ready ? 'True' : 'False';
    const conditions = Object.entries({
      Initialized: 'True',
      PodScheduled: 'True',
      ContainersReady: truth,
      Ready: truth,
    }).map(([type, status]) => ({ type, status, lastTransitionTime: now }));
    const { name, image } = container ?? {};
    const state = { running: { startedAt: now } };
    const restartCount = this.#restarts;
    const containerStatuses = [{ name, image, imageID: image, ready, started: true, restartCount, state }];
    const podIPs = [{ ip: this.address }];
    const status = {
      phase: 'Running',
      podIP: this.address,
      podIPs,
      startTime: now,
      conditions,
      containerStatuses,
    };
    const path = `/api/v1/namespaces/${this.pod.metadata.namespace}/pods/${this.name}/status`;
    await this.#api.call('PATCH', path, { status }).catch(() => undefined);
  }
}
