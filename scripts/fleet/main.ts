// `npm run fleet`: the chart on a real Kubernetes control plane, with a stub kubelet that starts real daemons, under load.
// CONTROL_PLANE names the script that builds and runs the control plane, FLEET_DIR where its binaries and data are, HELM the
// program. Where one of them is missing, it says so and ends.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CHART } from '../chart.js';
import { Api } from './api.js';
import { loopbackOf, PORT, StubKubelet } from './kubelet.js';
import { Load } from './load.js';

const run = promisify(execFile);
const SCRIPT = resolve(process.env.CONTROL_PLANE ?? '../shared/k8s/control-plane.sh');
const DIR = process.env.FLEET_DIR ?? join(tmpdir(), 'ai-router-fleet');
const NAMESPACE = 'fleet';
const PER_SECOND = Number(process.env.FLEET_RATE ?? 20);
/** Kubernetes' own is a minute: the kubelet looks at ConfigMaps that often. */
const CONFIGMAP_DELAY_MS = Number(process.env.FLEET_CONFIGMAP_DELAY_MS ?? 2_000);
const KEY = 'an-admin-key-of-the-fleet';
/** How long all replicas may take to agree once the file or the leader has changed, in ms. */
const AGREE_MS = 5_000;

const ROUTES = (extra: string): string =>
  `routes:\n  - {name: food, utterances: [I am hungry, bring me a pizza${extra}]}\n  - {name: sleep, utterances: [good night, I am tired]}\n`;

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

/** Every mode of the chart, for the server-side dry run. */
const MODES: Readonly<Record<string, string>> = {
  baked: '',
  mirror: 'model.mode=mirror,model.mirror=https://mirror.example',
  feeder: 'model.mode=feeder',
  volume: 'model.mode=volume,model.claim=models,replicas=1',
  configMap: 'routes.mode=configMap,routes.file=x',
  leader: 'routes.mode=leader,routes.editable=true,existingSecret=keys',
  url: 'routes.mode=url,routes.url=https://bucket.example/routes.json',
  hpa: 'hpa.enabled=true',
  keda: 'keda.enabled=true',
  everything:
    'monitoring.serviceMonitor=true,monitoring.rules=true,monitoring.dashboard=true,ingress.enabled=true,ingress.host=a.example,httpRoute.enabled=true,httpRoute.gateway=g',
};

const say = (line: string): void => void process.stdout.write(`${line}\n`);
let failed = 0;
function report(name: string, ok: boolean, facts: string): void {
  if (!ok) failed += 1;
  say(`${ok ? 'ok    ' : 'FAILED'} ${name}: ${facts}`);
}

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
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-fleet-'));
  const api = await Api.open(join(DIR, 'kubeconfig'));
  const kubelet = new StubKubelet(api, {
    namespace: NAMESPACE,
    folder,
    configMapDelayMs: CONFIGMAP_DELAY_MS,
  });
  try {
    await prepare(api, folder);
    await kubelet.start(['node-a', 'node-b']);
    await dryRuns(api);
    await scenarios(api, kubelet);
  } finally {
    await kubelet.close();
    api.close();
    await run(SCRIPT, ['stop', DIR]);
    if (!process.env.FLEET_KEEP) await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
  say(failed === 0 ? 'all scenarios passed' : `${failed} scenarios failed`);
  return failed === 0 ? 0 : 1;
}

/** Makes the namespace, its keys, a volume, and the definitions of custom resources. */
async function prepare(api: Api, folder: string): Promise<void> {
  await api.kubectl(['create', 'namespace', NAMESPACE]);
  await api.kubectl(`-n ${NAMESPACE} create secret generic keys --from-literal=ADMIN_KEYS=${KEY}`.split(' '));
  const claimable = {
    capacity: { storage: '1Gi' },
    accessModes: ['ReadWriteOnce'],
    hostPath: { path: folder },
  };
  const volume = {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'models' },
    spec: claimable,
  };
  await api.kubectl(['apply', '-f', '-'], JSON.stringify(volume));
  const modules = await mkdtemp(join(tmpdir(), 'ai-router-crds-'));
  for (const [module, ...files] of CRDS) {
    const { stdout } = await run('go', ['mod', 'download', '-json', module], { cwd: modules });
    const { Dir } = JSON.parse(stdout) as { Dir: string };
    for (const file of files) await api.kubectl(['apply', '--server-side', '-f', join(Dir, file)]);
  }
  await rm(modules, { recursive: true });
}

async function render(values: string): Promise<string> {
  const options = ['--kube-version', '1.34.0', '-n', NAMESPACE, '--no-hooks', '--set', values];
  const { stdout } = await run(helm, ['template', 'router', CHART, ...options]);
  return stdout;
}

async function dryRuns(api: Api): Promise<void> {
  const manifests = new Map<string, string>();
  for (const [mode, values] of Object.entries(MODES)) manifests.set(mode, await render(values));
  for (const folder of ['base', 'overlays/autoscaled', 'overlays/follower', 'overlays/volume']) {
    const { stdout } = await run('kubectl', ['kustomize', `deploy/kustomize/${folder}`]);
    manifests.set(`kustomize/${folder}`, stdout);
  }
  const args = ['-n', NAMESPACE, 'apply', '--server-side', '--dry-run=server', '-f', '-'];
  for (const [name, manifest] of manifests) {
    await api.kubectl(args, manifest).then(
      (text) =>
        report(`server-side dry run of ${name}`, true, `${text.trim().split('\n').length} objects accepted`),
      (error: unknown) => report(`server-side dry run of ${name}`, false, String(error)),
    );
  }
}

async function scenarios(api: Api, kubelet: StubKubelet): Promise<void> {
  const kubectl = (...args: string[]): Promise<string> => api.kubectl(['-n', NAMESPACE, ...args]);
  const apply = async (values: string): Promise<void> => {
    await api.kubectl(
      ['-n', NAMESPACE, 'apply', '--server-side', '--force-conflicts', '-f', '-'],
      await render(values),
    );
  };
  const rolledOut = (): Promise<string> =>
    kubectl('rollout', 'status', 'deployment/router-ai-router', '--timeout=300s');
  const routesFile = (extra: string): string => ROUTES(extra).replaceAll(',', '\\,');
  const common = (extra = ''): string =>
    `existingSecret=keys,settings.CLASSIFY_METHOD=nearest,settings.MAX_QUEUE_MS=30000,routes.file=${routesFile(extra)}`;

  await apply(`${common()},routes.mode=configMap`);
  await rolledOut();
  const ready = (): number => kubelet.endpoints.get('router-ai-router')?.length ?? 0;
  await until(() => ready() === 2);
  let load = new Load(kubelet, 'router-ai-router', PER_SECOND);

  /** Runs a scenario under load, and counts. Failures of `killed` pods are counted apart. */
  const under = async (
    name: string,
    work: () => Promise<string>,
    killed: readonly string[] = [],
  ): Promise<void> => {
    load.take();
    const began = performance.now();
    let facts = '';
    let ok = true;
    try {
      facts = await work();
    } catch (error) {
      ok = false;
      facts = String(error).slice(0, 500);
    }
    await sleep(2_000);
    const outcomes = load.take();
    const failures = outcomes.filter(({ failure }) => failure !== undefined);
    const excused = failures.filter(({ pod }) => killed.includes(pod));
    const counted = failures.filter(({ pod }) => !killed.includes(pod));
    const times = outcomes.map(({ ms }) => ms).sort((a, b) => a - b);
    const p99 = Math.round(times[Math.floor(times.length * 0.99)] ?? 0);
    const pods = new Set(outcomes.map(({ pod }) => pod)).size;
    report(
      name,
      ok && counted.length === 0 && outcomes.length > 0,
      `${outcomes.length} requests to ${pods} pods in ${Math.round((performance.now() - began) / 1_000)} s, ${counted.length} failed` +
        `${killed.length > 0 ? `, ${excused.length} of the killed pod` : ''}, p99 ${p99} ms; ${facts}`,
    );
    for (const { pod, failure } of counted.slice(0, 3)) say(`         ${pod}: ${failure}`);
  };

  await under('steady load', async () => {
    await sleep(3_000);
    return `${ready()} replicas`;
  });
  await under('rolling update to another image tag', async () => {
    await apply(`${common()},routes.mode=configMap,image.tag=next`);
    await rolledOut();
    return 'rolled out';
  });
  await under('scale 2 → 6 → 2', async () => {
    await kubectl('scale', 'deployment/router-ai-router', '--replicas=6');
    await until(() => ready() === 6);
    const top = ready();
    await kubectl('scale', 'deployment/router-ai-router', '--replicas=2');
    await until(() => ready() === 2 && kubelet.pods.length === 2);
    return `${top} replicas at most`;
  });
  const victim = kubelet.pods.find(({ name }) => name.startsWith('router-ai-router'));
  await under(
    'a pod is killed',
    async () => {
      victim?.kill();
      await until(() => ready() === 1, 10_000).catch(() => undefined);
      await until(() => ready() === 2);
      return `${victim?.name} came back`;
    },
    victim ? [victim.name] : [],
  );
  await under('a node is drained against the budget', async () => {
    const node = victim?.pod.spec.nodeName ?? 'node-a';
    const drained = await kubectl(
      'drain',
      node,
      '--delete-emptydir-data',
      '--ignore-daemonsets',
      '--force',
      '--timeout=300s',
    );
    await until(() => ready() === 2 && kubelet.pods.length === 2);
    await kubectl('uncordon', node);
    return `${drained.match(/evicted/g)?.length ?? 0} pods evicted`;
  });
  await under('an edit of the ConfigMap, without a rollout', async () => {
    const before = await digests(kubelet);
    await apply(`${common(', a burger please')},routes.mode=configMap,image.tag=next`);
    const took = await agreed(kubelet, before);
    report(
      'replicas agree after the ConfigMap changed',
      took - CONFIGMAP_DELAY_MS < AGREE_MS,
      `${took} ms, ${CONFIGMAP_DELAY_MS} of them the kubelet's delay`,
    );
    return `${(await digests(kubelet)).size} digest`;
  });
  await load.end();

  // The same release goes on with a leader, which feeds and leads four replicas.
  const led = `${common()},routes.mode=leader,routes.editable=true,model.mode=feeder,replicas=4,image.tag=next`;
  await apply(led);
  await rolledOut();
  await until(() => ready() === 4 && kubelet.endpoints.get('router-ai-router-leader')?.length === 1);
  load = new Load(kubelet, 'router-ai-router', PER_SECOND);
  const leader = (): string => {
    const found = kubelet.endpoints.get('router-ai-router-leader')?.[0];
    return `http://${loopbackOf(found?.address ?? '')}:${PORT}`;
  };
  await under("a leader's change is followed by four replicas", async () => {
    const before = await digests(kubelet);
    const changed = await put(leader());
    const took = await agreed(kubelet, before);
    report('replicas agree after the leader changed', took < AGREE_MS, `${took} ms`);
    const refused = await put(
      `http://${loopbackOf(kubelet.endpoints.get('router-ai-router')?.[0]?.address ?? '')}:${PORT}`,
    );
    return `leader ${changed.status}, a follower ${refused.status} (${refused.detail})`;
  });
  await under('the feeder dies while replicas boot', async () => {
    await kubectl('scale', 'deployment/router-ai-router', '--replicas=6');
    await until(() => kubelet.pods.filter(({ name }) => !name.includes('leader')).length === 6);
    kubelet.pods.find(({ name }) => name.includes('leader'))?.kill();
    await until(() => ready() === 6);
    return `6 replicas ready, ${(await digests(kubelet)).size} digest`;
  });
  await load.end();
}

/** Digests of the routes that the ready replicas serve. */
async function digests(kubelet: StubKubelet): Promise<ReadonlySet<string>> {
  const ready = kubelet.endpoints.get('router-ai-router') ?? [];
  return new Set(
    await Promise.all(
      ready.map(async ({ address }) => {
        const answer = await fetch(`http://${loopbackOf(address)}:${PORT}/readyz`);
        return (
          ((await answer.json()) as { checks: { routes: { digest?: string } } }).checks.routes.digest ?? '-'
        );
      }),
    ),
  );
}

/** Waits until all replicas have one digest that none had before; returns after how many ms. */
async function agreed(kubelet: StubKubelet, before: ReadonlySet<string>): Promise<number> {
  const began = performance.now();
  for (;;) {
    const now = await digests(kubelet);
    if (now.size === 1 && [...now].every((digest) => !before.has(digest)))
      return Math.round(performance.now() - began);
    if (performance.now() - began > 120_000) throw new Error(`no agreement: ${[...now].join(', ')}`);
    await sleep(50);
  }
}

/** Adds a route as an administrator does. */
async function put(url: string): Promise<{ status: number; detail: string }> {
  const etag = (await fetch(`${url}/routes`)).headers.get('etag') ?? '';
  const answer = await fetch(`${url}/routes/travel`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${KEY}`, 'if-match': etag, 'content-type': 'application/json' },
    body: JSON.stringify({ utterances: ['book a flight', 'a train to Rome'] }),
  });
  const { detail = '' } = (await answer.json()) as { detail?: string };
  return { status: answer.status, detail };
}

async function until(what: () => boolean, withinMs = 300_000): Promise<void> {
  for (const began = performance.now(); !what(); await sleep(100)) {
    if (performance.now() - began > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
  }
}
