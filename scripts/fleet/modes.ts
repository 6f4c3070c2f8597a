import { CHART, MODES, OVERLAYS } from '../chart.js';
import type { Api } from './api.js';
import { type Endpoints, urlOf } from './endpoints.js';
import type { StubKubelet } from './kubelet.js';
import { attempt, messageOf, until } from './report.js';

/** Namespace of the releases. */
const NAMESPACE = 'modes';

/** Values that name something of this cluster in place of an example. */
const REAL: Readonly<Record<string, string>> = {
  mirror: 'model.mirror=http://feeder-ai-router-leader:3000',
  url: 'routes.url=http://leader-ai-router-leader:3000/routes',
};
/** Releases that stay for a later one: the mirror's model and the URL's routes come from them. */
const KEPT = ['feeder', 'leader'];

/** Installs every mode of the chart and every overlay for real, and asks each for a decision. */
export async function modes(
  api: Api,
  endpoints: Endpoints,
  kubelet: StubKubelet,
  key: string,
): Promise<void> {
  await namespaceWith(api, NAMESPACE, 'keys', key);
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'models' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  };
  await api.kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], JSON.stringify(claim));
  const helm = (...args: string[]): Promise<string> => api.helm(['-n', NAMESPACE, ...args]);
  for (const [mode, values] of Object.entries(MODES)) {
    await attempt(`install of ${mode}`, async () => {
      const set = `${values} ${REAL[mode] ?? ''}`.trim().split(' ').filter(Boolean);
      const began = performance.now();
      await helm(
        'install',
        mode,
        CHART,
        ...set.flatMap((each) => ['--set', each]),
        '--wait',
        '--timeout',
        '180s',
      );
      const seconds = ((performance.now() - began) / 1_000).toFixed(1);
      const manifest = await helm('get', 'manifest', mode);
      const facts = await decides(endpoints, `${NAMESPACE}/${mode}-ai-router`);
      return `${manifest.match(/^kind:/gm)?.length} objects, ready after ${seconds} s; ${facts}`;
    });
    if (mode === 'baked') await tested(api, endpoints, kubelet);
    if (!KEPT.includes(mode)) await helm('uninstall', mode).catch(() => undefined);
  }
  for (const mode of KEPT) await helm('uninstall', mode).catch(() => undefined);

  const namespaces = [NAMESPACE];
  for (const folder of OVERLAYS) {
    const name = folder.split('/').at(-1) ?? '';
    // The follower's leader is the Service ai-router of the namespace leader.
    const namespace = name === 'volume' ? 'leader' : `kustomize-${name}`;
    namespaces.push(namespace);
    await namespaceWith(api, namespace, 'ai-router', key);
    await attempt(`apply of ${folder}`, async () => {
      const began = performance.now();
      const text = await api.kubectl(['-n', namespace, 'apply', '-k', folder]);
      await api.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/ai-router', '--timeout=180s']);
      const seconds = ((performance.now() - began) / 1_000).toFixed(1);
      const facts = await decides(endpoints, `${namespace}/ai-router`);
      return `${text.trim().split('\n').length} objects, ready after ${seconds} s; ${facts}`;
    });
  }
  for (const namespace of namespaces) await api.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await until('no pod is left', () => kubelet.pods().length === 0);
}

/** Runs `helm test` where it must pass, and where no replica is left, which it must tell. */
async function tested(api: Api, endpoints: Endpoints, kubelet: StubKubelet): Promise<void> {
  const service = `${NAMESPACE}/baked-ai-router`;
  const test = async (): Promise<string> => {
    const running = api.helm(['-n', NAMESPACE, 'test', 'baked', '--timeout', '60s']);
    const pod = await until('the test has a pod', () =>
      kubelet.pods(NAMESPACE).find(({ name, pid }) => name === 'baked-ai-router-test' && pid !== undefined),
    );
    await running;
    return (await pod.output()).trim();
  };
  await attempt('helm test', test);
  await attempt('helm test without replicas fails', async () => {
    await api.kubectl(['-n', NAMESPACE, 'scale', 'deployment/baked-ai-router', '--replicas=0']);
    await until('no replica is ready', () => endpoints.ready(service).length === 0);
    const outcome = await test().then(
      () => 'passed',
      (error: unknown) => messageOf(error),
    );
    if (!/failed/i.test(outcome)) throw new Error(outcome);
    return outcome.split('\n').at(-1) ?? '';
  });
}

async function namespaceWith(api: Api, namespace: string, secret: string, key: string): Promise<void> {
  await api.kubectl(['create', 'namespace', namespace]);
  await api.kubectl([
    '-n',
    namespace,
    'create',
    'secret',
    'generic',
    secret,
    `--from-literal=ADMIN_KEYS=${key}`,
  ]);
}

/** Asks one replica for a decision, and returns where its model and its routes came from. */
async function decides(endpoints: Endpoints, service: string): Promise<string> {
  const [first] = await until(`${service} has an endpoint`, () => {
    const ready = endpoints.ready(service);
    return ready.length > 0 && ready;
  });
  if (!first) throw new Error('no endpoint');
  const answer = await fetch(`${urlOf(first)}/classify`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ text: 'my card was charged twice' }),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`classify answered ${answer.status}: ${text}`);
  const { route } = JSON.parse(text) as { route: string | null };
  return `classify ${answer.status} (${route}) by ${endpoints.ready(service).length}`;
}
