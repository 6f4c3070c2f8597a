import { Random } from '../../test/support/random.js';
import { mean } from '../../test/support/stats.js';
import { type Chart, HPA, replicasForCpu, replicasForSum, Stabilizer } from './autoscaler.js';
import { Clock, Machine } from './machine.js';
import { type Balance, type Costs, choose, Latencies, type Limits, Replica } from './simulation.js';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
/** Autoscaler, metrics-server and Prometheus look at different moments. */
const SYNC_PHASE_MS = 7_000;
const SCRAPE_PHASE_MS = 3_000;

/** Requests per second at a moment, and how long there are any. */
export interface Traffic {
  readonly endMs: number;
  rateAt(ms: number): number;
}

/** Requests over a day: a sine, and bursts at random moments. */
export interface Load {
  /** Mean of the day, without bursts. */
  readonly perSecond: number;
  readonly dayMs: number;
  /** How far the day swings from the mean, as a share of it. */
  readonly swing: number;
  readonly burstsPerDay: number;
  readonly burstFactor: number;
  readonly burstMs: number;
}

/** The traffic of a day. */
export function trafficOf(load: Load, seed: number): Traffic {
  const random = new Random(seed);
  const bursts = Array.from({ length: load.burstsPerDay }, () => random.next() * load.dayMs);
  return {
    endMs: load.dayMs,
    rateAt(at) {
      const swing = 1 - load.swing * Math.cos((2 * Math.PI * at) / load.dayMs);
      const bursting = bursts.some((start) => at >= start && at < start + load.burstMs);
      return load.perSecond * swing * (bursting ? load.burstFactor : 1);
    },
  };
}

/** A rule that says how many replicas there should be. */
export type Rule =
  | { readonly kind: 'hpa'; readonly cpu: number }
  /** With `cpu`, the higher of both. */
  | { readonly kind: 'keda'; readonly waiting: number; readonly cpu?: number };

/** A fleet under a load. */
export interface Scenario {
  readonly costs: Costs;
  readonly limits: Limits;
  readonly traffic: Traffic;
  readonly rule: Rule;
  readonly chart: Pick<Chart, 'cores' | 'shutdownDelayMs' | 'scrapeMs'>;
  /** Cores that a replica can use, where it asks for less; default: what it asks for. */
  readonly cores?: number;
  /** Cores that a replica uses without any request. */
  readonly idleCores?: number;
  /** What differs from a cluster that was set up by default. */
  readonly timing?: {
    readonly syncPhaseMs?: number;
    readonly cpuSampleMs?: number;
    readonly downscaleMs?: number;
  };
  readonly min: number;
  readonly max: number;
  /** From the autoscaler's decision to the first request: container and boot. */
  readonly startMs: number;
  readonly balance: Balance;
  /** Replicas that are simulated request by request, with their share of the load; more are like them. */
  readonly cell: number;
  readonly seed: number;
}

/** Outcome of a fleet's day. */
export interface Day {
  readonly sent: number;
  readonly accepted: number;
  readonly refused: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly replicas: { readonly least: number; readonly mean: number; readonly most: number };
  readonly coreHours: number;
  /** Sizes that the autoscaler gave the fleet, and when. */
  readonly decisions: readonly { readonly at: number; readonly replicas: number }[];
}

/** A replica of the cell, on its own cores. */
interface Member {
  readonly replica: Replica;
  readonly machine: Machine;
  /** CPU time at the last sample; undefined before the first. */
  sampled: number | undefined;
}

/** Simulates a fleet with its autoscaler. */
export function simulateDay(scenario: Scenario): Day {
  const { traffic, chart, rule, cores = chart.cores, idleCores = 0, timing = {} } = scenario;
  const { syncPhaseMs = SYNC_PHASE_MS, cpuSampleMs = HPA.cpuSampleMs, downscaleMs } = timing;
  const random = new Random(scenario.seed);
  const clock = new Clock();
  const latencies = new Latencies();
  const stabilizer = new Stabilizer(scenario.min, scenario.max, downscaleMs);
  const day = { sent: 0, accepted: 0, refused: 0 };
  const decisions: { at: number; replicas: number }[] = [];
  let podMs = 0;

  // Pods by the moment at which they serve, oldest first; a day begins with what its first minute needs.
  const pods: number[] = Array(startReplicas(scenario, traffic.rateAt(0))).fill(0);
  const readyAt = (moment: number): number => pods.filter((at) => at <= moment).length;
  let ready = pods.length;
  const members: Member[] = [];
  let replicas: readonly Replica[] = [];
  const leaving = new Set<Member>();
  const seen = { least: pods.length, most: pods.length };

  function fitCell(): void {
    ready = readyAt(clock.now);
    const wanted = Math.min(scenario.cell, ready);
    while (members.length < wanted) {
      const machine = new Machine(clock, cores);
      members.push({
        machine,
        replica: new Replica(machine, scenario.costs, scenario.limits, random),
        sampled: undefined,
      });
    }
    for (const member of members.splice(wanted)) leaving.add(member);
    for (const member of leaving) {
      if (member.replica.active > 0) continue;
      clock.machines.delete(member.machine);
      leaving.delete(member);
    }
    replicas = members.map(({ replica }) => replica);
  }

  /** One arrival of the cell, which stands for `weight` of the fleet. */
  function receive(due: number): void {
    const weight = Math.max(1, ready / members.length);
    day.sent += weight;
    choose(replicas, scenario.balance, random).receive((status, now) => {
      day[status] += weight;
      if (status === 'accepted') latencies.note(now + scenario.costs.idleMs - due, weight);
    });
  }

  /** Samples the next arrival at the rate of this second, in which it comes if at all. */
  const schedule = (): void => {
    const perSecond = traffic.rateAt(clock.now) * Math.min(1, members.length / ready);
    const at = clock.now - (Math.log(1 - random.next()) / perSecond) * SECOND_MS;
    if (at >= (Math.floor(clock.now / SECOND_MS) + 1) * SECOND_MS) return;
    clock.at(at, (now) => {
      receive(now);
      schedule();
    });
  };
  clock.every(
    SECOND_MS,
    () => {
      podMs += pods.length * SECOND_MS;
      fitCell();
      schedule();
    },
    0,
  );

  let cpu: { readonly share: number; readonly since: number } | undefined;
  clock.every(cpuSampleMs, (now) => {
    const shares: number[] = [];
    for (const member of members) {
      const used = member.machine.busyMs;
      if (member.sampled !== undefined)
        shares.push(((used - member.sampled) / cpuSampleMs + idleCores) / chart.cores);
      member.sampled = used;
    }
    if (shares.length > 0) cpu = { share: mean(shares), since: now - cpuSampleMs };
  });
  let waiting = 0;
  clock.every(
    chart.scrapeMs,
    () => {
      const mine = members.reduce((sum, { replica }) => sum + replica.waiting, 0);
      waiting = mine * Math.max(1, ready / members.length);
    },
    SCRAPE_PHASE_MS,
  );
  function recommend(current: number): number {
    const forQueue = rule.kind === 'keda' ? replicasForSum(current, waiting, rule.waiting) : 0;
    if (rule.cpu === undefined) return forQueue;
    if (!cpu) return current;
    const sampled = readyAt(cpu.since);
    const usage = { ready: sampled, unready: current - sampled, share: cpu.share };
    return Math.max(forQueue, replicasForCpu(current, usage, rule.cpu));
  }
  stabilizer.next(0, pods.length, pods.length);
  clock.every(
    HPA.syncMs,
    (now) => {
      const current = pods.length;
      const next = stabilizer.next(now, current, recommend(current));
      if (next !== current) decisions.push({ at: now, replicas: next });
      for (let count = current; count < next; count += 1) pods.push(now + scenario.startMs);
      // The youngest go first, and run on for a while.
      podMs += chart.shutdownDelayMs * pods.splice(next).length;
      seen.least = Math.min(seen.least, pods.length);
      seen.most = Math.max(seen.most, pods.length);
    },
    syncPhaseMs,
  );
  clock.run(traffic.endMs);
  // What is under way ends; autoscalers and arrivals have ended with the day.
  clock.stopTimers();
  clock.run();
  return {
    ...day,
    p50Ms: latencies.quantile(0.5),
    p99Ms: latencies.quantile(0.99),
    replicas: { ...seen, mean: podMs / traffic.endMs },
    coreHours: (podMs / HOUR_MS) * chart.cores,
    decisions,
  };
}

/** Replicas that a rate needs at about two thirds of a lone request's pace. */
function startReplicas({ costs, min, max, chart }: Scenario, perSecond: number): number {
  const ms = costs.requestMs + costs.messageMs + costs.passMs + costs.textMs;
  return Math.max(min, Math.min(max, Math.ceil((perSecond * ms) / SECOND_MS / chart.cores / 0.7)));
}

/** How replicas get the model. */
export interface Distribution {
  readonly replicas: number;
  /** Bytes that a boot fetches. */
  readonly bytes: number;
  /** Bandwidth of a feeder and of a replica, in bytes per second. */
  readonly feederPerSecond: number;
  readonly replicaPerSecond: number;
  /** From the last byte until the replica serves. */
  readonly bootMs: number;
  /** Replicas that each pod with the model feeds; without it, all of them ask the one feeder. */
  readonly fanOut?: number;
}

/** Time in milliseconds until all replicas serve, when all are started at once. */
export function timeUntilAllServe(distribution: Distribution): number {
  const { replicas, bytes, feederPerSecond, replicaPerSecond, bootMs, fanOut = replicas } = distribution;
  if (bytes === 0) return bootMs;
  let [served, level, time] = [0, 1, 0];
  while (served < replicas) {
    // Those of a level fetch at once from their own feeder, whose bytes they share equally.
    const fed = Math.min(fanOut, Math.ceil((replicas - served) / level));
    const perSecond = Math.min(replicaPerSecond, feederPerSecond / fed);
    time += (bytes / perSecond) * SECOND_MS + bootMs;
    level = Math.min(level * fanOut, replicas - served);
    served += level;
  }
  return time;
}
