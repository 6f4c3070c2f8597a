import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CHART, chartReadme } from '../../scripts/chart.js';
import { readConfig } from '../../src/config/config.js';
import { SETTINGS } from '../../src/config/settings.js';

const run = promisify(execFile);
const HELM = process.env.HELM ?? 'helm';
const hasHelm = await works(HELM, 'version');
const hasKubectl = await works('kubectl', 'version', '--client');
if (!hasHelm)
  process.stderr.write('SKIPPED: no helm on PATH or in $HELM; the chart is not rendered by these tests\n');
if (!hasKubectl)
  process.stderr.write('SKIPPED: no kubectl; the kustomize overlays are not rendered by these tests\n');

async function works(command: string, ...args: string[]): Promise<boolean> {
  return run(command, args).then(
    () => true,
    () => false,
  );
}

interface Manifest {
  kind: string;
  metadata: { name: string };
  spec: { template: { spec: PodSpec }; egress?: unknown[] };
}

interface PodSpec {
  terminationGracePeriodSeconds: number;
  containers: { env: { name: string; value?: string }[] }[];
  volumes: { name: string }[];
}

const parseAll = (text: string): Manifest[] => parseAllDocuments(text).flatMap((each) => each.toJSON() ?? []);

async function render(values: string): Promise<Manifest[]> {
  const set = values === '' ? [] : values.split(' ').flatMap((each) => ['--set', each]);
  const { stdout } = await run(HELM, ['template', 'r', CHART, '--kube-version', '1.34.0', ...set]);
  return parseAll(stdout);
}

/** Settings of the pods of a workload, as the daemon takes them. */
function configOf({ spec }: Manifest) {
  const env = spec.template.spec.containers[0]?.env ?? [];
  const known = new Set(Object.values(SETTINGS).map((setting) => setting.env));
  for (const { name } of env) expect(known).toContain(name);
  return readConfig(Object.fromEntries(env.map(({ name, value = '' }) => [name, value])));
}

it('the README of the chart is the one of its values (npm run chart:readme)', async () => {
  expect(await readFile(`${CHART}/README.md`, 'utf8')).toBe(await chartReadme());
});

describe.skipIf(!hasHelm)('the chart', () => {
  it.each([
    '',
    'replicas=3 shutdown.preStopSeconds=3 shutdown.delayMs=1500',
    'model.mode=feeder',
    'model.mode=mirror model.mirror=https://mirror.example',
    'model.mode=volume model.claim=c replicas=1',
    'routes.mode=leader routes.editable=true existingSecret=keys',
    'routes.mode=configMap routes.file=x hpa.enabled=true',
    'routes.mode=url routes.url=https://bucket.example/routes.json keda.enabled=true',
  ])('renders workloads whose settings the daemon takes, with enough grace: %s', async (values) => {
    const workloads = (await render(values)).filter(({ kind }) => /^(Deployment|StatefulSet)$/.test(kind));
    expect(workloads.length).toBe(/feeder|leader/.test(values) ? 2 : 1);
    for (const workload of workloads) {
      const { shutdownDelayMs, drainMs } = configOf(workload);
      const grace = workload.spec.template.spec.terminationGracePeriodSeconds * 1_000;
      expect(grace).toBeGreaterThan(shutdownDelayMs + drainMs);
    }
  });

  it('lets a baked fleet call nothing', async () => {
    const policy = (await render('')).find(({ kind }) => kind === 'NetworkPolicy');
    expect(policy?.spec.egress ?? []).toEqual([]);
  });

  it('points feeder, leader and replicas at each other', async () => {
    const all = await render('model.mode=feeder routes.mode=leader');
    const [replica, leader] = ['Deployment', 'StatefulSet'].map((kind) =>
      all.find((each) => each.kind === kind),
    );
    if (!replica || !leader) throw new Error('no workloads');
    expect(configOf(leader)).toMatchObject({ serveModel: true, routesUrl: undefined });
    expect(configOf(replica)).toMatchObject({
      mirrors: ['http://r-ai-router-leader:3000'],
      routesUrl: 'http://r-ai-router-leader:3000/routes',
    });
    expect(all.map(({ metadata }) => metadata.name)).toContain('r-ai-router-leader');
  });

  it('has every monitoring and network resource that is asked for', async () => {
    const all = await render(
      'monitoring.serviceMonitor=true monitoring.rules=true monitoring.dashboard=true ingress.enabled=true ingress.host=a.example httpRoute.enabled=true httpRoute.gateway=g',
    );
    const kinds = all.map(({ kind }) => kind);
    for (const kind of ['ServiceMonitor', 'PrometheusRule', 'ConfigMap', 'Ingress', 'HTTPRoute'])
      expect(kinds).toContain(kind);
  });

  it.each([
    ['hpa.enabled=true keda.enabled=true', /two autoscalers/],
    ['hpa.enabled=true hpa.min=9 hpa.max=3', /hpa.min is larger/],
    ['model.mode=volume replicas=1', /model.claim/],
    ['model.mode=volume model.claim=c replicas=2', /ReadWriteOnce/],
    ['model.mode=volume model.claim=c replicas=1 hpa.enabled=true', /ReadWriteOnce/],
    ['model.mode=mirror', /model.mirror/],
    ['routes.mode=url', /routes.url/],
    ['routes.mode=configMap', /routes.file/],
    ['routes.file=x', /ignores routes.file/],
    ['routes.mode=configMap routes.file=x routes.existingConfigMap=y', /ignored/],
    ['routes.editable=true existingSecret=s', /more than one replica/],
    ['routes.editable=true existingSecret=s replicas=1', /lost with the pod/],
    ['routes.editable=true routes.mode=leader', /ADMIN_KEYS/],
    [
      'routes.editable=true routes.mode=url routes.url=https://a.example existingSecret=s',
      /followers refuse/,
    ],
    ['shutdown.graceSeconds=10', /cut off/],
    ['ingress.enabled=true', /ingress.host/],
    ['httpRoute.enabled=true', /httpRoute.gateway/],
    ['monitoring.key=k', /existingSecret/],
    ['settings.DRAIN_MS=1', /the chart sets it/],
    ['replicas=0', /replicas/],
    ['image.digest=latest', /digest/],
    ['model.mode=magic', /model.mode|model\/mode/],
    ['typo=1', /typo/],
  ])('refuses %s', async (values, message) => {
    await expect(render(values)).rejects.toThrow(message);
  });

  it('passes helm lint --strict', async () => {
    await run(HELM, ['lint', '--strict', CHART]);
  });
});

describe.skipIf(!hasKubectl)('kustomize', () => {
  it.each(['base', 'overlays/autoscaled', 'overlays/follower', 'overlays/volume'])(
    'builds %s',
    async (folder) => {
      const { stdout } = await run('kubectl', ['kustomize', `deploy/kustomize/${folder}`]);
      const workload = parseAll(stdout).find(({ kind }) => kind === 'Deployment');
      if (!workload) throw new Error('no Deployment');
      const { shutdownDelayMs, drainMs, routesUrl } = configOf(workload);
      expect(workload.spec.template.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(
        shutdownDelayMs + drainMs,
      );
      expect(routesUrl !== undefined).toBe(folder.endsWith('follower'));
    },
  );
});
