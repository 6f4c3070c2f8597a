import { mean, median } from '../../test/support/stats.js';
import { type Chart, readChart } from './autoscaler.js';
import { simulateDay, type Traffic } from './scenario.js';
import type { Costs, Limits } from './simulation.js';

const SECOND_MS = 1_000;
/** Where the autoscaler looks within its 15 s is not known of the real one: so many moments are simulated. */
const PHASES = 5;
const SYNC_MS = 15_000;
/** More than the replicas of any trace: each of them is simulated. */
const ALL = 1_000;

/** How long a pod took to start on the control plane, in milliseconds. */
export interface PodStart {
  /** From the change of the Deployment until the pod had a node. */
  readonly scheduledMs: number;
  /** Until its process ran, from then. */
  readonly startedMs: number;
  /** Until the daemon said that it was ready, from then. */
  readonly bootMs: number;
  /** Until a client saw it among the endpoints, from then. */
  readonly endpointMs: number;
}

/** What the real HPA controller did under a load, as `npm run fleet -- autoscaling` writes it. */
export interface HpaTrace {
  readonly date: string;
  readonly min: number;
  readonly max: number;
  /** Target, in percent of the CPU request. */
  readonly cpu: number;
  /** CPU request in cores. */
  readonly request: number;
  readonly downscaleMs: number;
  /** Window of a CPU sample. */
  readonly sampleMs: number;
  readonly steps: readonly { readonly perSecond: number; readonly seconds: number }[];
  /** CPU time of an idle replica, in cores. */
  readonly idleCores: number;
  readonly starts: readonly PodStart[];
  /** Once a second: what the HPA wanted, and what was ready. */
  readonly seen: readonly { readonly at: number; readonly wanted: number; readonly ready: number }[];
}

/** From the decision until a pod serves, without its boot, in milliseconds. */
export function startMsOf({ starts }: Pick<HpaTrace, 'starts'>): number {
  return median(starts.map(startMsOfOne));
}

/** The same of one pod. */
export function startMsOfOne({ scheduledMs, startedMs, endpointMs }: PodStart): number {
  return scheduledMs + startedMs + endpointMs;
}

/** The load of a trace. */
export function trafficOfSteps(steps: HpaTrace['steps']): Traffic {
  return {
    endMs: SECOND_MS * steps.reduce((sum, { seconds }) => sum + seconds, 0),
    rateAt(at) {
      let left = at;
      for (const { perSecond, seconds } of steps) {
        left -= seconds * SECOND_MS;
        if (left < 0) return perSecond;
      }
      return 0;
    },
  };
}

/** What the simulated HPA did under the same load, with the real one's moments unknown. */
export interface SimulatedTrace {
  /** What it wanted at each moment of `seen`, for each phase. */
  readonly wanted: readonly (readonly number[])[];
  /** How far off each second is on average, in replicas; of each phase, the best and the worst. */
  readonly off: { readonly least: number; readonly mean: number; readonly most: number };
  /** Replicas on average, real and simulated. */
  readonly replicas: { readonly real: number; readonly simulated: number };
  readonly most: { readonly real: number; readonly simulated: number };
}

/** Simulates the HPA under the load of a trace, and compares. */
export function simulateTrace(
  trace: HpaTrace,
  costs: Costs,
  limits: Limits,
  chart: Chart = readChart(),
): SimulatedTrace {
  const boots = median(trace.starts.map(({ bootMs }) => bootMs));
  const wanted = Array.from({ length: PHASES }, (_, phase) => {
    const { decisions } = simulateDay({
      costs,
      limits,
      traffic: trafficOfSteps(trace.steps),
      rule: { kind: 'hpa', cpu: trace.cpu },
      chart: { ...chart, cores: trace.request },
      cores: 1,
      idleCores: trace.idleCores,
      timing: {
        syncPhaseMs: ((phase + 0.5) / PHASES) * SYNC_MS,
        cpuSampleMs: trace.sampleMs,
        downscaleMs: trace.downscaleMs,
      },
      min: trace.min,
      max: trace.max,
      startMs: startMsOf(trace) + boots,
      balance: 'random',
      cell: ALL,
      seed: 1,
    });
    return trace.seen.map(
      ({ at }) => decisions.findLast((decision) => decision.at <= at)?.replicas ?? trace.min,
    );
  });
  const offs = wanted.map((series) =>
    mean(series.map((replicas, index) => Math.abs(replicas - (trace.seen[index]?.wanted ?? 0)))),
  );
  return {
    wanted,
    off: { least: Math.min(...offs), mean: mean(offs), most: Math.max(...offs) },
    replicas: { real: mean(trace.seen.map((each) => each.wanted)), simulated: mean(wanted.flat()) },
    most: { real: Math.max(...trace.seen.map((each) => each.wanted)), simulated: Math.max(...wanted.flat()) },
  };
}
