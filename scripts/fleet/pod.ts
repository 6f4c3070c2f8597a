import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, Resource } from './api.js';
import { urlOf } from './endpoints.js';

interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef: { readonly name: string; readonly key: string; readonly optional?: boolean };
  };
}

interface Probe {
  readonly httpGet: { readonly path: string };
  readonly periodSeconds: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold: number;
}

/** A container as the chart writes it: probed where it serves, and with a command where it is a test. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface Pod extends Resource {
  readonly spec: {
    readonly nodeName?: string;
    readonly restartPolicy: 'Always' | 'Never';
    readonly containers: readonly [Container];
    readonly volumes?: readonly {
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly persistentVolumeClaim?: { readonly claimName: string };
    }[];
  };
}

/** Environment of a container, its names of folders and Services replaced. */
export interface Start {
  readonly command: readonly string[];
  /** The folder of the program, in place of an image. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly log: string;
}

/** A pod of one container: a process of its own, probed as written, whose state the API server learns. */
export class RunningPod {
  readonly #api: Api;
  readonly #container: Container;
  readonly pod: Pod;
  readonly address: string;
  readonly name: string;
  #child: ChildProcess | undefined;
  #log = '';
  #stopping: Promise<void> | undefined;
  #ready = false;
  #restarts = 0;
  /** When the stub heard of the pod on its node, and when its process was started last, by `performance.now()`. */
  readonly scheduledAt = performance.now();
  startedAt = 0;

  constructor(api: Api, pod: Pod, address: string) {
    this.#api = api;
    this.#container = pod.spec.containers[0];
    this.pod = pod;
    this.address = address;
    this.name = pod.metadata.name;
  }

  /** The process id of the container. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Output of the container. */
  output(): Promise<string> {
    return readFile(this.#log, 'utf8');
  }

  /** Runs the container, and again when it ends, until the pod is deleted or has done what it is for. */
  async run({ command, cwd, env, log }: Start): Promise<void> {
    this.#log = log;
    const [program = '', ...args] = command;
    for (; !this.#stopping; this.#restarts += 1) {
      const file = await open(log, 'a');
      const child = spawn(program, args, {
        cwd,
        env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
        stdio: ['ignore', file.fd, file.fd],
      });
      this.#child = child;
      this.startedAt = performance.now();
      const ended = once(child, 'exit');
      const probing = new AbortController();
      await this.#patch(this.#container.readinessProbe === undefined);
      void this.#probe(probing.signal);
      const [code] = (await ended) as [number | null];
      probing.abort();
      await file.close();
      if (this.#stopping !== undefined) return;
      if (this.pod.spec.restartPolicy === 'Never') {
        await this.#patch(false, code ?? 1);
        return;
      }
      await this.#patch(false);
      // As the kubelet does: at once, and then ever later.
      if (this.#restarts > 0)
        await sleep(Math.min(10_000 * 2 ** (this.#restarts - 1), 300_000), undefined, { ref: false });
    }
  }

  /** Sends a signal to the container; one that ends is started again. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
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
      const preStop = this.#container.lifecycle?.preStop?.sleep?.seconds ?? 0;
      await Promise.race([sleep(preStop * 1_000), ended]);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(timer);
    }
    await this.#api
      .call('DELETE', this.#path, { gracePeriodSeconds: 0, preconditions: { uid: this.pod.metadata.uid } })
      .catch(() => undefined);
  }

  get #path(): string {
    return `/api/v1/namespaces/${this.pod.metadata.namespace}/pods/${this.name}`;
  }

  async #probe(signal: AbortSignal): Promise<void> {
    const { startupProbe, readinessProbe, livenessProbe } = this.#container;
    if (!startupProbe || !readinessProbe || !livenessProbe) return;
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
      if (!ok && !this.#stopping) this.signal('SIGKILL');
    });
  }

  async #ask({ httpGet, timeoutSeconds = 1 }: Probe): Promise<boolean> {
    const signal = AbortSignal.timeout(timeoutSeconds * 1_000);
    return fetch(urlOf(this) + httpGet.path, { signal }).then(
      async (answer) => {
        await answer.arrayBuffer();
        return answer.ok;
      },
      () => false,
    );
  }

  /** Tells the API server whether the pod is ready, or how it ended. */
  async #patch(ready: boolean, exitCode?: number): Promise<void> {
    this.#ready = ready;
    const { name, image } = this.#container;
    const now = new Date().toISOString();
    const truth = ready ? 'True' : 'False';
    const conditions = Object.entries({
      Initialized: 'True',
      PodScheduled: 'True',
      ContainersReady: truth,
      Ready: truth,
    }).map(([type, status]) => ({ type, status, lastTransitionTime: now }));
    const started = exitCode === undefined;
    const state = started
      ? { running: { startedAt: now } }
      : { terminated: { exitCode, startedAt: now, finishedAt: now } };
    const container = { name, image, imageID: image, ready, started, restartCount: this.#restarts, state };
    const status = {
      phase: started ? 'Running' : exitCode === 0 ? 'Succeeded' : 'Failed',
      podIP: this.address,
      podIPs: [{ ip: this.address }],
      startTime: this.pod.metadata.creationTimestamp,
      conditions,
      containerStatuses: [container],
    };
    await this.#api.call('PATCH', `${this.#path}/status`, { status }).catch(() => undefined);
  }
}
