import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HpaTrace, PodStart } from '../../bench/fleet/trace.js';
import { childrenOf, cpuMsOf } from '../../test/support/processes.js';
import { urlOf } from './endpoints.js';
import type { Fleet, FleetOptions } from './fleet.js';
import { WINDOW_MS } from './metrics.js';
import { until } from './report.js';

/** A load with steps up and down, which ask for 2 to 8 replicas with a tenth of a core each. */
const STEPS = [
  { perSecond: 10, seconds: 45 },
  { perSecond: 50, seconds: 75 },
  { perSecond: 100, seconds: 90 },
  { perSecond: 50, seconds: 75 },
  { perSecond: 10, seconds: 75 },
] as const;
const DOWNSCALE_MS = 30_000;
const IDLE_MS = 5_000;

/** The HPA of the trace, as values of the chart. */
const HPA = { min: 2, max: 8, cpu: 70 } as const;
const REQUEST = 0.1;
export const TRACED = {
  hpa: {
    enabled: true,
    ...HPA,
    behavior: { scaleDown: { stabilizationWindowSeconds: DOWNSCALE_MS / 1_000 } },
  },
  resources: { requests: { cpu: `${REQUEST * 1_000}m`, memory: '256Mi' }, limits: { memory: '512Mi' } },
} as const;

/** Scales a fleet without load up by one replica, and measures how its pod starts. */
export async function podStart(
  fleet: Fleet,
  { endpoints }: FleetOptions,
  replicas: number,
): Promise<PodStart> {
  const known = new Set(fleet.replicas.map(({ name }) => name));
  const seen = new Map<string, number>();
  const unfollow = endpoints.onChange(() => {
    for (const { pod } of fleet.ready) if (!seen.has(pod)) seen.set(pod, performance.now());
  });
  const began = performance.now();
  await fleet.kubectl('scale', `deployment/${fleet.release}-ai-router`, `--replicas=${replicas}`);
  const pod = await until('a pod', () => fleet.replicas.find(({ name }) => !known.has(name)));
  let readyAt: number | undefined;
  while (readyAt === undefined) {
    const answer = await fetch(`${urlOf(pod)}/readyz`).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer?.ok) readyAt = performance.now();
    else await sleep(20);
  }
  const endpointAt = await until('its endpoint', () => seen.get(pod.name));
  unfollow();
  const { scheduledAt, startedAt } = pod;
  const ms = (from: number, to: number): number => Math.round(to - from);
  return {
    scheduledMs: ms(began, scheduledAt),
    startedMs: ms(scheduledAt, startedAt),
    bootMs: ms(startedAt, readyAt),
    endpointMs: ms(readyAt, endpointAt),
  };
}

/** CPU time of the replicas while nobody asks them, in cores for each. */
export async function idleCores(fleet: Fleet): Promise<number> {
  const pids = fleet.replicas.flatMap(({ pid = 0 }) => [pid, ...childrenOf(pid)]);
  const used = (): number => pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
  const before = used();
  await sleep(IDLE_MS);
  return (used() - before) / IDLE_MS / fleet.replicas.length;
}

/** Sends the load of {@link STEPS}, and notes once a second what the HPA wants; writes both to `file`. */
export async function recordTrace(
  fleet: Fleet,
  { api, namespace }: FleetOptions,
  measured: Pick<HpaTrace, 'starts' | 'idleCores'>,
  file: string | undefined,
): Promise<HpaTrace> {
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${fleet.release}-ai-router`;
  const seen: HpaTrace['seen'][number][] = [];
  const began = performance.now();
  let end = 0;
  for (const { perSecond, seconds } of STEPS) {
    end += seconds * 1_000;
    fleet.rate(perSecond);
    while (performance.now() - began < end) {
      const { spec } = await api.call<{ spec: { replicas: number } }>('GET', path);
      const at = Math.round(performance.now() - began);
      seen.push({ at, wanted: spec.replicas, ready: fleet.ready.length });
      await sleep(1_000);
    }
  }
  const trace: HpaTrace = {
    date: new Date().toISOString().slice(0, 10),
    ...HPA,
    request: REQUEST,
    downscaleMs: DOWNSCALE_MS,
    sampleMs: WINDOW_MS,
    steps: STEPS,
    ...measured,
    seen,
  };
  if (file !== undefined) await writeFile(file, `${JSON.stringify(trace)}\n`);
  return trace;
}
