import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, Resource } from './api.js';
import { type Endpoints, loopbackOf, PORT } from './endpoints.js';
import { type Pod, RunningPod } from './pod.js';

/** Interval of the nodes' heartbeats in ms. */
const HEARTBEAT_MS = 10_000;

/** A built checkout of an older version, which stands for the images of {@link PREVIOUS_TAG}. */
export const PREVIOUS = process.env.FLEET_PREVIOUS;
export const PREVIOUS_TAG = 'previous';

interface ConfigMap extends Resource {
  readonly data?: Readonly<Record<string, string>>;
}

/**
 * Stands for the kubelets and kube-proxies of some nodes: starts the real daemon for each pod, with its environment, its
 * folders and its probes, and tells the API server how it is.
 */
export class StubKubelet {
  readonly #api: Api;
  readonly #endpoints: Endpoints;
  readonly #folder: string;
  readonly #configMapDelayMs: number;
  readonly #pods = new Map<string, RunningPod>();
  readonly #configMaps = new Map<string, ConfigMap>();
  readonly #proxies = new Map<string, Promise<{ address: string; server: Server }>>();
  readonly #stop = new AbortController();
  #heartbeats: Promise<void> | undefined;
  #nextAddress = 1;
  /** When a changed ConfigMap was laid out last, by `performance.now()`. */
  laidAt = 0;

  constructor(api: Api, endpoints: Endpoints, options: { folder: string; configMapDelayMs: number }) {
    this.#api = api;
    this.#endpoints = endpoints;
    this.#folder = options.folder;
    this.#configMapDelayMs = options.configMapDelayMs;
    // However this process ends, its pods end with it.
    process.once('exit', () => {
      for (const pod of this.pods()) pod.signal('SIGKILL');
    });
  }

  /** The pods of a namespace, or of all. */
  pods(namespace?: string): readonly RunningPod[] {
    const all = [...this.#pods.values()];
    return namespace === undefined ? all : all.filter(({ pod }) => pod.metadata.namespace === namespace);
  }

  async start(nodes: readonly string[]): Promise<void> {
    for (const name of nodes) {
      const metadata = { name, labels: { 'kubernetes.io/hostname': name } };
      await this.#api.call('POST', '/api/v1/nodes', { kind: 'Node', metadata });
    }
    await this.#beat(nodes);
    this.#heartbeats = this.#beats(nodes);
    await this.#api.watch<ConfigMap>('/api/v1/configmaps', (map, gone) => this.#configMap(map, gone));
    await this.#api.watch<Pod>('/api/v1/pods', (pod, gone) => this.#pod(pod, gone));
  }

  /** Ends every process. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#heartbeats;
    await Promise.all([...this.#pods.values()].map((pod) => pod.stop(0)));
    for (const proxy of this.#proxies.values()) (await proxy).server.close();
  }

  async #beats(nodes: readonly string[]): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(HEARTBEAT_MS, undefined, { signal }).catch(() => undefined);
      await this.#beat(nodes).catch(
        (error: unknown) => signal.aborted || process.stderr.write(`stub kubelet: ${error}\n`),
      );
    }
  }

  async #beat(nodes: readonly string[]): Promise<void> {
    const room = { cpu: '16', memory: '32Gi', pods: '110', 'ephemeral-storage': '64Gi' };
    const now = new Date().toISOString();
    const times = { lastHeartbeatTime: now, lastTransitionTime: now };
    const conditions = [{ type: 'Ready', status: 'True', reason: 'Stub', ...times }];
    const status = { capacity: room, allocatable: room, conditions };
    for (const name of nodes) await this.#api.call('PATCH', `/api/v1/nodes/${name}/status`, { status });
  }

  #pod(pod: Pod, gone: boolean): void {
    const { uid, name, deletionTimestamp, deletionGracePeriodSeconds = 30 } = pod.metadata;
    if (!pod.spec.nodeName || this.#stop.signal.aborted) return;
    let running = this.#pods.get(uid);
    if (!running) {
      if (gone) return;
      const number = this.#nextAddress++;
      running = new RunningPod(this.#api, pod, `198.18.${number >> 8}.${number & 255}`);
      this.#pods.set(uid, running);
      if (!deletionTimestamp)
        this.#begin(running).catch((error: unknown) => process.stderr.write(`${name}: ${error}\n`));
    }
    if (!gone && !deletionTimestamp) return;
    void running.stop(gone ? 0 : deletionGracePeriodSeconds).then(async () => {
      this.#pods.delete(uid);
      await rm(join(this.#folder, uid), { recursive: true, force: true, maxRetries: 5 });
    });
  }

  async #begin(running: RunningPod): Promise<void> {
    const { metadata, spec } = running.pod;
    await mkdir(join(this.#folder, metadata.uid), { recursive: true });
    for (const { name, configMap } of spec.volumes ?? []) {
      if (!configMap) continue;
      let found: ConfigMap | undefined;
      while (!found) {
        found = this.#configMaps.get(`${metadata.namespace}/${configMap.name}`);
        if (!found) await sleep(200, undefined, { signal: this.#stop.signal });
      }
      await lay(join(this.#folder, metadata.uid, name), found);
    }
    const env = await this.#environmentOf(running);
    const [program, ...args] = spec.containers[0].command ?? ['node', 'dist/main.js', 'serve'];
    const command = [program === 'node' ? process.execPath : (program ?? '')];
    for (const arg of args) command.push(await this.#withAddresses(arg, metadata.namespace));
    const cwd = PREVIOUS && spec.containers[0].image.endsWith(`:${PREVIOUS_TAG}`) ? PREVIOUS : '.';
    await running.run({ command, cwd, env, log: join(this.#folder, `${metadata.uid}.log`) });
  }

  /** Lays a changed ConfigMap out for every pod that mounts it, after the delay. */
  #configMap(map: ConfigMap, gone: boolean): void {
    const { namespace, name, resourceVersion } = map.metadata;
    const key = `${namespace}/${name}`;
    const before = this.#configMaps.get(key);
    if (gone) this.#configMaps.delete(key);
    else this.#configMaps.set(key, map);
    if (gone || !before || before.metadata.resourceVersion === resourceVersion) return;
    const { signal } = this.#stop;
    const layAll = async (): Promise<void> => {
      await sleep(this.#configMapDelayMs, undefined, { signal });
      for (const { pod } of this.pods(namespace)) {
        const volume = pod.spec.volumes?.find(({ configMap }) => configMap?.name === name);
        if (volume) await lay(join(this.#folder, pod.metadata.uid, volume.name), map);
      }
      this.laidAt = performance.now();
    };
    layAll().catch((error: unknown) => signal.aborted || process.stderr.write(`${key}: ${error}\n`));
  }

  /** The settings of a pod, with folders of this machine in place of its own. */
  async #environmentOf({ pod: { metadata, spec }, address }: RunningPod): Promise<Record<string, string>> {
    const [container] = spec.containers;
    const folders = new Map<string, string>();
    for (const { name, mountPath } of container.volumeMounts ?? []) {
      const claim = spec.volumes?.find((volume) => volume.name === name)?.persistentVolumeClaim?.claimName;
      const owner = claim === undefined ? metadata.uid : `${metadata.namespace}-${claim}`;
      const folder = join(this.#folder, owner, name);
      await mkdir(folder, { recursive: true });
      folders.set(mountPath, folder);
    }
    const env: Record<string, string> = { HOST: loopbackOf(address), PORT: String(PORT) };
    for (const { name, value = '', valueFrom } of container.env ?? []) {
      if (valueFrom) {
        const { name: secret, key, optional = false } = valueFrom.secretKeyRef;
        const path = `/api/v1/namespaces/${metadata.namespace}/secrets/${secret}`;
        const { data } = await this.#api.call<{ data?: Record<string, string> }>('GET', path);
        const found = data?.[key];
        if (found !== undefined) env[name] = Buffer.from(found, 'base64').toString();
        else if (!optional) throw new Error(`secret ${secret} has no ${key}`);
        continue;
      }
      const mount = [...folders.keys()].find((path) => value.startsWith(path));
      env[name] = mount
        ? folders.get(mount) + value.slice(mount.length)
        : await this.#withAddresses(value, metadata.namespace);
    }
    return env;
  }

  /** Puts addresses in place of Services' names, as their DNS does. */
  async #withAddresses(text: string, namespace: string): Promise<string> {
    const url = /http:\/\/([a-z][a-z0-9-]*)(?:\.([a-z0-9-]+)\.svc)?:\d+/.exec(text);
    if (!url?.[1]) return text;
    const { address } = await this.#proxyOf(`${url[2] ?? namespace}/${url[1]}`);
    return text.replace(url[0], `http://${address}:${PORT}`);
  }

  /** Forwards connections to a Service to one of its ready endpoints, as kube-proxy does. */
  #proxyOf(service: string): Promise<{ address: string; server: Server }> {
    const address = `127.19.0.${this.#proxies.size + 1}`;
    const proxy =
      this.#proxies.get(service) ??
      new Promise<{ address: string; server: Server }>((resolve, reject) => {
        const server = createServer((socket: Socket) => {
          const ready = this.#endpoints.ready(service);
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
}

/** Lays a ConfigMap out as the kubelet does: a new folder, and a link that is renamed over the old one. */
async function lay(folder: string, { metadata, data = {} }: ConfigMap): Promise<void> {
  const version = `..${metadata.resourceVersion}`;
  await mkdir(join(folder, version), { recursive: true });
  for (const [file, text] of Object.entries(data)) {
    await writeFile(join(folder, version, file), text);
    await symlink(join('..data', file), join(folder, file)).catch(() => undefined);
  }
  await symlink(version, join(folder, '..new'));
  await rename(join(folder, '..new'), join(folder, '..data'));
}
