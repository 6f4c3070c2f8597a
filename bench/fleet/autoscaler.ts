import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/** Rules of Kubernetes 1.34 for a HorizontalPodAutoscaler without `behavior`, as the chart and KEDA make it. */
export const HPA = {
  syncMs: 15_000,
  tolerance: 0.1,
  downscaleStabilizationMs: 300_000,
  /** In one sync it grows to this many times its size, or to `scaleUpLeast` pods. */
  scaleUpFactor: 2,
  scaleUpLeast: 4,
  /** metrics-server: `--metric-resolution`; a sample is the mean of the time since the one before. */
  cpuSampleMs: 15_000,
} as const;

/** Values of the chart for autoscalers and pods. */
export interface Chart {
  readonly hpa: { readonly min: number; readonly cpu: number };
  readonly keda: { readonly min: number; readonly waiting: number; readonly cpu: number };
  /** Cores that a pod asks for. */
  readonly cores: number;
  readonly shutdownDelayMs: number;
  /** Interval of the ServiceMonitor, from which Prometheus knows how many texts wait. */
  readonly scrapeMs: number;
}

/** Reads the chart. */
export function readChart(folder = 'deploy/helm/ai-router'): Chart {
  const { hpa, keda, resources, shutdown } = parse(readFileSync(`${folder}/values.yaml`, 'utf8'));
  const monitor = readFileSync(`${folder}/templates/monitoring.yaml`, 'utf8');
  const scrape = /interval: (\d+)s/.exec(monitor)?.[1];
  return {
    hpa,
    keda,
    cores: Number(resources.requests.cpu),
    shutdownDelayMs: shutdown.delayMs,
    scrapeMs: 1_000 * Number(scrape),
  };
}

const isWithinTolerance = (ratio: number): boolean =>
  ratio >= 1 - HPA.tolerance && ratio <= 1 + HPA.tolerance;

/** Kubernetes computes in whole percent. */
const percentOf = (share: number): number => Math.floor(share * 100 + 1e-9);

/** CPU of the pods of a Deployment, as the autoscaler sees it. */
export interface CpuUsage {
  /** Pods with a sample since they are ready. */
  readonly ready: number;
  /** Pods that are starting, or have no such sample yet. */
  readonly unready: number;
  /** Mean use of the former, as a share of the request. */
  readonly share: number;
}

/** Replicas that CPU asks for (`GetResourceReplicas`); `target` in percent of the request. */
export function replicasForCpu(current: number, { ready, unready, share }: CpuUsage, target: number): number {
  if (ready === 0) return current;
  const ratio = percentOf(share) / target;
  if (ratio <= 1 || unready === 0) return isWithinTolerance(ratio) ? current : Math.ceil(ratio * ready);
  // Pods that start count as idle, so that it does not scale up twice for one load.
  const all = ready + unready;
  const diluted = percentOf((share * ready) / all) / target;
  if (diluted < 1 || isWithinTolerance(diluted)) return current;
  return Math.max(current, Math.ceil(diluted * all));
}

/** Replicas that a metric of an external system asks for (`GetExternalPerPodMetricReplicas`), as KEDA sets it up. */
export function replicasForSum(current: number, sum: number, perReplica: number): number {
  return isWithinTolerance(sum / (perReplica * current)) ? current : Math.ceil(sum / perReplica);
}

/** From recommendations to replicas: the highest of some minutes, within the bounds of one step. */
export class Stabilizer {
  readonly #recent: { readonly at: number; readonly replicas: number }[] = [];

  constructor(
    readonly min: number,
    readonly max: number,
    readonly downscaleMs: number = HPA.downscaleStabilizationMs,
  ) {}

  next(now: number, current: number, recommended: number): number {
    this.#recent.push({ at: now, replicas: recommended });
    while ((this.#recent[0]?.at ?? now) < now - this.downscaleMs) this.#recent.shift();
    const stabilized = Math.max(...this.#recent.map(({ replicas }) => replicas));
    const limit = Math.min(this.max, Math.max(HPA.scaleUpFactor * current, HPA.scaleUpLeast));
    return Math.max(this.min, Math.min(limit, stabilized));
  }
}
