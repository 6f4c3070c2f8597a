import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CERTIFICATE } from '../../test/support/certificate.js';
import type { Api } from './api.js';
import { type Endpoints, loopbackOf, PORT } from './endpoints.js';
import { Fleet, type FleetOptions } from './fleet.js';
import { say, until } from './report.js';

const PORTS = { prometheus: 19_090, operator: 19_666, adapter: 16_449, adapterMetrics: 18_080 } as const;
const SCRAPE_S = 5;
/** So many long texts are under way all the time: far more wait than the least replicas may have. */
const CROWD = { words: 160, most: 200 } as const;
const PER_SECOND = 400;
const RELEASE = 'queued';

/** The real operator and adapter of KEDA, and a real Prometheus. */
export interface KedaPrograms {
  readonly operator: string;
  readonly adapter: string;
  readonly prometheus: string;
}

/** The programs, or which of them are missing. */
export function kedaPrograms(dir: string): KedaPrograms | string {
  const programs = {
    operator: process.env.KEDA_OPERATOR ?? join(dir, 'bin/keda-operator'),
    adapter: process.env.KEDA_ADAPTER ?? join(dir, 'bin/keda-adapter'),
    prometheus: process.env.PROMETHEUS ?? '/usr/bin/prometheus',
  };
  const missing = Object.values(programs).filter((program) => !existsSync(program));
  return missing.length === 0 ? programs : `no ${missing.join(', no ')}`;
}

/** KEDA and the Prometheus that it asks, beside the control plane. */
export class Keda {
  readonly url = `http://127.0.0.1:${PORTS.prometheus}`;
  readonly #children: ChildProcess[] = [];
  #unfollow: () => void = () => undefined;

  private constructor() {
    process.once('exit', () => {
      for (const child of this.#children) child.kill('SIGKILL');
    });
  }

  /** Starts all three; Prometheus scrapes the ready pods of `service`. `crds` holds KEDA's definitions. */
  static async start(
    { operator, adapter, prometheus }: KedaPrograms,
    { api, endpoints, namespace }: FleetOptions,
    {
      folder,
      kubeconfig,
      crds,
      service,
    }: { folder: string; kubeconfig: string; crds: string; service: string },
  ): Promise<Keda> {
    const keda = new Keda();
    await mkdir(folder, { recursive: true });
    await api.kubectl(['apply', '--server-side', '-f', crds]);
    const { key, cert } = CERTIFICATE;
    for (const [file, text] of Object.entries({ 'ca.crt': cert, 'tls.crt': cert, 'tls.key': key }))
      await writeFile(join(folder, file), text);
    await register(api);
    await keda.#scrape(endpoints, folder, namespace, service);
    const run = (program: string, ...args: string[]): void => {
      const log = openSync(join(folder, `${program.split('/').at(-1)}.log`), 'a');
      const env = { ...process.env, KUBECONFIG: kubeconfig, POD_NAMESPACE: 'keda', WATCH_NAMESPACE: '' };
      const child = spawn(program, args, {
        env: { ...env, KEDA_CLUSTER_OBJECT_NAMESPACE: 'keda' },
        stdio: ['ignore', log, log],
      });
      keda.#children.push(child);
    };
    run(
      prometheus,
      `--config.file=${folder}/prometheus.yaml`,
      `--storage.tsdb.path=${folder}/prometheus`,
      `--web.listen-address=127.0.0.1:${PORTS.prometheus}`,
    );
    run(
      operator,
      `--cert-dir=${folder}`,
      '--metrics-bind-address=0',
      '--health-probe-bind-address=0',
      `--metrics-service-bind-address=127.0.0.1:${PORTS.operator}`,
    );
    run(
      adapter,
      `--secure-port=${PORTS.adapter}`,
      '--bind-address=127.0.0.1',
      `--cert-dir=${folder}`,
      `--tls-cert-file=${folder}/tls.crt`,
      `--tls-private-key-file=${folder}/tls.key`,
      `--port=${PORTS.adapterMetrics}`,
      `--metrics-service-address=localhost:${PORTS.operator}`,
      `--lister-kubeconfig=${kubeconfig}`,
      `--authentication-kubeconfig=${kubeconfig}`,
      `--authorization-kubeconfig=${kubeconfig}`,
      '--authentication-skip-lookup',
    );
    const answers = (): Promise<boolean> =>
      api.call('GET', '/apis/external.metrics.k8s.io/v1beta1').then(
        () => true,
        () => false,
      );
    await until('the adapter of KEDA answers', answers).catch((error: unknown) => {
      keda.close();
      throw error;
    });
    return keda;
  }

  close(): void {
    this.#unfollow();
    for (const child of this.#children) child.kill('SIGKILL');
  }

  /** Lets Prometheus find pods as the chart's ServiceMonitor does: with the labels `namespace` and `service`. */
  async #scrape(endpoints: Endpoints, folder: string, namespace: string, service: string): Promise<void> {
    const file = join(folder, 'pods.json');
    const write = async (): Promise<void> => {
      const pods = endpoints.ready(`${namespace}/${service}`);
      const targets = pods.map(({ address }) => `${loopbackOf(address)}:${PORT}`);
      await writeFile(`${file}.new`, JSON.stringify([{ targets, labels: { namespace, service } }]));
      await rename(`${file}.new`, file);
    };
    let writing = write();
    this.#unfollow = endpoints.onChange(() => {
      writing = writing.then(write);
    });
    const job = { job_name: 'ai-router', file_sd_configs: [{ files: [file] }] };
    const config = { global: { scrape_interval: `${SCRAPE_S}s` }, scrape_configs: [job] };
    await writing;
    await writeFile(join(folder, 'prometheus.yaml'), JSON.stringify(config));
  }
}

/** Lets the API server ask the adapter, which sees it without a name. */
async function register(api: Api): Promise<void> {
  await api.kubectl(['create', 'namespace', 'keda']);
  await api.aggregate('external.metrics.k8s.io', { name: 'keda-metrics', port: PORTS.adapter });
  const rbac = 'rbac.authorization.k8s.io';
  const metadata = { name: 'external-metrics' };
  await api.call('POST', `/apis/${rbac}/v1/clusterroles`, {
    metadata,
    rules: [
      { apiGroups: ['external.metrics.k8s.io'], resources: ['*'], verbs: ['get', 'list'] },
      { nonResourceURLs: ['/apis', '/apis/*'], verbs: ['get'] },
    ],
  });
  await api.call('POST', `/apis/${rbac}/v1/clusterrolebindings`, {
    metadata,
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: metadata.name },
    subjects: [{ apiGroup: rbac, kind: 'User', name: 'system:anonymous' }],
  });
}

interface KedaHpa {
  readonly spec: { readonly metrics: readonly { readonly type: string }[] };
  readonly status: {
    readonly currentMetrics?: readonly {
      readonly external?: { readonly current: { readonly averageValue: string } };
    }[];
  };
}

/** The chart's ScaledObject with the real KEDA: texts that wait scale the replicas up. */
export async function keda(
  options: FleetOptions,
  common: object,
  { dir, folder, crds }: { dir: string; folder: string; crds: string },
): Promise<void> {
  const programs = kedaPrograms(dir);
  if (typeof programs === 'string') {
    say(`SKIPPED keda: ${programs}`);
    return;
  }
  const { api, kubelet, namespace } = options;
  const fleet = new Fleet(RELEASE, { ...options, perSecond: PER_SECOND });
  const running = await Keda.start(programs, options, {
    folder: join(folder, 'keda'),
    kubeconfig: join(dir, 'kubeconfig'),
    crds,
    service: `${RELEASE}-ai-router`,
  });
  try {
    await fleet.helm({ ...common, keda: { enabled: true, max: 6, prometheus: running.url } });
    await fleet.rolledOut();
    await until('2 replicas', () => fleet.ready.length >= 2);
    const path = `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/keda-hpa-${RELEASE}-ai-router`;
    const { spec } = await until("KEDA's HPA", () =>
      api.call<KedaHpa>('GET', path).catch(() => false as const),
    );
    fleet.startLoad(CROWD);
    await fleet.under('KEDA scales by texts that wait', async () => {
      await until('6 replicas are ready', () => fleet.ready.length === 6, 240_000);
      const { status } = await api.call<KedaHpa>('GET', path);
      const waiting = status.currentMetrics?.find(({ external }) => external)?.external?.current.averageValue;
      const events = await fleet.kubectl(
        'get',
        'events',
        '--field-selector=reason=SuccessfulRescale',
        `-o=jsonpath={range .items[?(@.involvedObject.name=="keda-hpa-${RELEASE}-ai-router")]}{.message}{"\\n"}{end}`,
      );
      const sizes = events
        .trim()
        .split('\n')
        .map((line) => line.replace(/New size: |reason: |\(.*\)/g, ''));
      if (!/external metric/.test(events)) throw new Error(`not scaled by the queue: ${events}`);
      const kinds = spec.metrics.map(({ type }) => type).join(' and ');
      return `metrics: ${kinds}; ${sizes.join(' · ')}; ${waiting} waiting per replica with 6`;
    });
    await fleet.endLoad();
    await api.helm(['-n', namespace, 'uninstall', RELEASE]);
    await until('no pod is left', () => kubelet.pods(namespace).length === 0);
  } finally {
    await fleet.endLoad();
    running.close();
  }
}
