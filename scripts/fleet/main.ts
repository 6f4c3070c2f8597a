import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { commandLine } from '../command-line.js';
import { Api } from './api.js';
import { Endpoints } from './endpoints.js';
import { keda } from './keda.js';
import { StubKubelet } from './kubelet.js';
import { manifests } from './manifests.js';
import { PodMetrics } from './metrics.js';
import { modes } from './modes.js';
import { conclude, messageOf, report, say } from './report.js';
import { autoscaling, COMMON, edits, followers, rollouts, versions } from './scenarios.js';

const run = promisify(execFile);
const SCRIPT = resolve(process.env.CONTROL_PLANE ?? '../shared/k8s/control-plane.sh');
const DIR = process.env.FLEET_DIR ?? join(tmpdir(), 'ai-router-fleet');
const NAMESPACE = 'fleet';
const PER_SECOND = Number(process.env.FLEET_RATE ?? 20);
/** Requests per second at which the HPA has to scale up. */
const PEAK = Number(process.env.FLEET_PEAK ?? 120);
/** Kubernetes' own is a minute: the kubelet looks at ConfigMaps that often. */
const CONFIGMAP_DELAY_MS = Number(process.env.FLEET_CONFIGMAP_DELAY_MS ?? 2_000);
const ENDPOINT_DELAY_MS = Number(process.env.FLEET_ENDPOINT_DELAY_MS ?? 1_000);
const KEY = 'an-admin-key-of-the-fleet';

/** Modules that hold the definitions of the chart's custom resources, and the files in them. */
const CRDS: readonly (readonly [module: string, ...files: string[]])[] = [
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml',
    'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml',
  ],
  ['sigs.k8s.io/gateway-api@v1.3.0', 'config/crd/standard/gateway.networking.k8s.io_httproutes.yaml'],
  ['github.com/kedacore/keda/v2@v2.17.2', 'config/crd/bases/keda.sh_scaledobjects.yaml'],
];

const PHASES = [
  'manifests',
  'modes',
  'rollouts',
  'edits',
  'autoscaling',
  'followers',
  'versions',
  'keda',
] as const;
const HELP = `\`npm run fleet [PHASE…]\`: the chart on a real Kubernetes control plane, with a stub kubelet that starts real daemons, under
load. CONTROL_PLANE names the script that builds and runs the control plane, FLEET_DIR where its binaries and data are, HELM
the program, FLEET_PREVIOUS a built checkout of an older version. Where one of them is missing, it says so.
Phases: ${PHASES.join(' ')}.`;
const { words: asked } = commandLine(HELP, { words: PHASES });

const helm = process.env.HELM ?? (existsSync(join(DIR, 'bin/helm')) ? join(DIR, 'bin/helm') : 'helm');
const skip = !existsSync(SCRIPT)
  ? `no ${SCRIPT}; set CONTROL_PLANE`
  : await Promise.all([run(helm, ['version']), run('kubectl', ['version', '--client'])]).then(
      () => undefined,
      (error: unknown) => `helm or kubectl cannot be run (${error})`,
    );
if (skip) say(`SKIPPED: ${skip}`);
else process.exitCode = await proven();

async function proven(): Promise<number> {
  await run(SCRIPT, ['build', DIR], { maxBuffer: 2 ** 26 });
  await rm(join(DIR, 'run'), { recursive: true, force: true });
  await run(SCRIPT, ['start', DIR]);
  // However this process ends, the control plane ends with it, at once: nothing of it is kept.
  process.once('exit', () =>
    spawnSync('sh', ['-c', 'kill -KILL $(cat run/*.pid); rm run/*.pid'], { cwd: DIR }),
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-fleet-'));
  const api = await Api.open(join(DIR, 'kubeconfig'), helm);
  const endpoints = await Endpoints.follow(api);
  const kubelet = new StubKubelet(api, endpoints, { folder, configMapDelayMs: CONFIGMAP_DELAY_MS });
  const options = {
    api,
    endpoints,
    kubelet,
    namespace: NAMESPACE,
    perSecond: PER_SECOND,
    endpointDelayMs: ENDPOINT_DELAY_MS,
  };
  let metrics: PodMetrics | undefined;
  try {
    const crds = await prepare(api, folder);
    await kubelet.start(['node-a', 'node-b']);
    metrics = await PodMetrics.serve(api, kubelet);
    say(
      `${PER_SECOND} requests/s; ConfigMaps are laid out after ${CONFIGMAP_DELAY_MS} ms, endpoints acted on after ${ENDPOINT_DELAY_MS} ms`,
    );
    const work: Readonly<Record<(typeof PHASES)[number], () => Promise<void>>> = {
      manifests: () => manifests(api, { namespace: NAMESPACE, tools: join(DIR, 'python') }),
      modes: () => modes(api, endpoints, kubelet, KEY),
      rollouts: () => rollouts(options),
      edits: () => edits(options, CONFIGMAP_DELAY_MS),
      autoscaling: () => autoscaling(options, PEAK),
      followers: () => followers(options, KEY),
      versions: () => versions(options, KEY),
      keda: () => keda(options, COMMON, { dir: DIR, folder, crds }),
    };
    for (const phase of PHASES) {
      if (asked.length > 0 && !asked.includes(phase)) continue;
      await work[phase]().catch((error: unknown) => report(phase, false, messageOf(error)));
    }
  } finally {
    metrics?.close();
    await kubelet.close();
    await api.close();
    if (process.env.FLEET_KEEP) say(`logs of the pods: ${folder}`);
    else await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
  return conclude();
}

/** Makes the namespace, its keys, volumes, and the definitions of custom resources; returns where KEDA has the rest of its own. */
async function prepare(api: Api, folder: string): Promise<string> {
  await api.kubectl(['create', 'namespace', NAMESPACE]);
  await api.kubectl(`-n ${NAMESPACE} create secret generic keys --from-literal=ADMIN_KEYS=${KEY}`.split(' '));
  const volumes = Array.from({ length: 8 }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `volume-${index}` },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: folder } },
  }));
  const list = { apiVersion: 'v1', kind: 'List', items: volumes };
  await api.kubectl(['apply', '-f', '-'], JSON.stringify(list));
  const modules = await mkdtemp(join(tmpdir(), 'ai-router-crds-'));
  let last = '';
  for (const [module, ...files] of CRDS) {
    const { stdout } = await run('go', ['mod', 'download', '-json', module], { cwd: modules });
    const { Dir } = JSON.parse(stdout) as { Dir: string };
    last = Dir;
    for (const file of files) await api.kubectl(['apply', '--server-side', '-f', join(Dir, file)]);
  }
  await rm(modules, { recursive: true });
  return join(last, 'config/crd/bases');
}
