import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CHART, chartReadme, MODES, OVERLAYS, REFUSALS } from '../../scripts/chart.js';
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
  spec: { template: { spec: PodSpec }; egress?: unknown[]; triggers?: unknown[] };
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
    ...Object.values(MODES),
    'replicas=3 shutdown.preStopSeconds=3 shutdown.delayMs=1500',
    'routes.mode=leader model.mode=feeder hpa.enabled=true',
  ])('renders workloads whose settings the daemon takes, with enough grace: %s', async (values) => {
    const workloads = (await render(values)).filter(({ kind }) => /^(Deployment|StatefulSet)$/.test(kind));
    expect(workloads.length).toBe(/feeder|leader/.test(values) ? 2 : 1);
    for (const workload of workloads) {
      const { shutdownDelayMs, drainMs } = configOf(workload);
      const grace = workload.spec.template.spec.terminationGracePeriodSeconds * 1_000;
      expect(grace).toBeGreaterThan(shutdownDelayMs + drainMs);
    }
  });

  it('confines, spreads and probes its pods, and deploys by digest', async () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const all = await render(`routes.mode=leader image.repository=r.example/a image.digest=${digest}`);
    const pods = all
      .filter(({ kind }) => /^(Deployment|StatefulSet)$/.test(kind))
      .map(({ spec }) => spec.template.spec);
    expect(pods).toHaveLength(2);
    for (const pod of pods) {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            image: `r.example/a@${digest}`,
            startupProbe: { httpGet: { path: '/livez' }, periodSeconds: 1 },
            livenessProbe: { httpGet: { path: '/livez' } },
            readinessProbe: { httpGet: { path: '/readyz' } },
            resources: { requests: { cpu: '1', memory: '256Mi' }, limits: { memory: '512Mi' } },
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
          },
        ],
      });
    }
    const deployment = all.find(({ kind }) => kind === 'Deployment');
    expect(deployment?.spec.template.spec).toMatchObject({
      topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'kubernetes.io/hostname' }],
    });
  });

  it('makes a level of a tree of feeders', async () => {
    const all = await render('model.mode=mirror model.mirror=http://above:3000 model.serve=true');
    const replica = all.find(({ kind }) => kind === 'Deployment');
    if (!replica) throw new Error('no workload');
    expect(configOf(replica)).toMatchObject({ serveModel: true, mirrors: ['http://above:3000'] });
  });

  it('never lets the queue alone scale: it is empty wherever replicas are enough', async () => {
    const scaled = (await render('keda.enabled=true')).find(({ kind }) => kind === 'ScaledObject');
    expect(JSON.stringify(scaled?.spec.triggers)).toContain('"type":"cpu"');
    expect(JSON.stringify(scaled?.spec.triggers)).toContain('ai_router_inference_waiting');
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

  it.each(REFUSALS)('refuses %s', async (values, message) => {
    await expect(render(values)).rejects.toThrow(message);
  });

  it('refuses a preStop that an old cluster does not know', async () => {
    const old = ['template', 'r', CHART, '--kube-version', '1.29.0', '--set', 'shutdown.preStopSeconds=3'];
    await expect(run(HELM, old)).rejects.toThrow('use shutdown.delayMs');
  });

  it('passes helm lint --strict', async () => {
    await run(HELM, ['lint', '--strict', CHART]);
  });
});

describe.skipIf(!hasKubectl)('kustomize', () => {
  it.each(OVERLAYS)('builds %s', async (folder) => {
    const { stdout } = await run('kubectl', ['kustomize', folder]);
    const workload = parseAll(stdout).find(({ kind }) => kind === 'Deployment');
    if (!workload) throw new Error('no Deployment');
    const { shutdownDelayMs, drainMs, routesUrl } = configOf(workload);
    expect(workload.spec.template.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(
      shutdownDelayMs + drainMs,
    );
    expect(routesUrl !== undefined).toBe(folder.endsWith('follower'));
  });
});
