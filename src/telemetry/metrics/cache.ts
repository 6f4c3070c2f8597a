import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FileState } from '../../cache/cache-state.js';
import type { Parts } from '../../daemon/report.js';
import { allCountedElsewhere } from './counted-elsewhere.js';
import { VolumeWatch } from './volume-watch.js';

const FILE_STATES: readonly FileState[] = [
  'unknown',
  'verified',
  'missing',
  'corrupt',
  'downloading',
  'repairing',
];

/** Upper bounds of the buckets for the time to heal, in seconds. */
const HEAL_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 86_400];

/** The volume, the pinned files on it, and what upkeep did. */
export function cacheMetrics(parts: Parts, registers: Registry[]): void {
  fileMetrics(parts, registers);
  volumeMetrics(parts, registers);
  upkeepMetrics(parts, registers);
}

function fileMetrics({ reconciler: { state: cache } }: Parts, registers: Registry[]): void {
  new Gauge({
    name: 'ai_router_cache_file_state',
    help: '1 for the state that a pinned file is in, 0 for the others',
    labelNames: ['path', 'state'],
    registers,
    collect() {
      for (const { path, state } of cache.files.values()) {
        for (const each of FILE_STATES) this.set({ path, state: each }, each === state ? 1 : 0);
      }
    },
  });
  new Gauge({
    name: 'ai_router_cache_file_bytes',
    help: 'Bytes of a pinned file that are on the volume',
    labelNames: ['path'],
    registers,
    collect() {
      for (const { path, bytes } of cache.files.values()) this.set({ path }, bytes);
    },
  });
  new Gauge({
    name: 'ai_router_cache_whole',
    help: 'Whether every pinned file is verified',
    registers,
    collect() {
      this.set(cache.whole ? 1 : 0);
    },
  });
}

function volumeMetrics({ reconciler, store }: Parts, registers: Registry[]): void {
  new Gauge({
    name: 'ai_router_volume_problem',
    help: '1 for what is wrong with the volume as such; absent when nothing is',
    labelNames: ['code'],
    registers,
    collect() {
      this.reset();
      if (reconciler.volumeProblem) this.set({ code: reconciler.volumeProblem.code }, 1);
    },
  });
  const watch = new VolumeWatch(store);
  reconciler.onRun(() => void watch.look());
  const spaces = { free: 'Free space on the volume', total: 'Size of the volume' } as const;
  for (const [key, help] of Object.entries(spaces) as [keyof typeof spaces, string][]) {
    new Gauge({
      name: `ai_router_volume_${key}_bytes`,
      help,
      registers,
      collect() {
        if (watch.space) this.set(watch.space[`${key}Bytes`]);
        else this.remove();
      },
    });
  }
  new Gauge({
    name: 'ai_router_cache_quarantined_blobs',
    help: 'Bad blobs that are kept as evidence',
    registers,
    collect() {
      if (watch.quarantined === undefined) this.remove();
      else this.set(watch.quarantined);
    },
  });
}

function upkeepMetrics({ reconciler }: Parts, registers: Registry[]): void {
  const { state } = reconciler;
  const counters = {
    verifications: 'Full verifications of the volume',
    corruptions: 'Corrupt blobs found',
    repairs: 'Corrupt blobs replaced',
    downloads: 'Blobs fetched',
  } as const;
  allCountedElsewhere('ai_router_cache', counters, registers, (key) => state.counters[key]);
  new Counter({
    name: 'ai_router_cache_downloaded_bytes_total',
    help: 'Bytes fetched, by source',
    labelNames: ['source'],
    registers,
    collect() {
      this.reset();
      for (const [source, bytes] of state.bytesBySource) this.inc({ source }, bytes);
    },
  });
  new Gauge({
    name: 'ai_router_cache_last_verification_timestamp_seconds',
    help: 'When the last full verification ended, in seconds since 1970; absent before the first',
    registers,
    collect() {
      const report = reconciler.lastReport;
      if (report) this.set((Date.parse(report.startedAt) + report.durationMs) / 1_000);
      else this.remove();
    },
  });
  const heal = new Histogram({
    name: 'ai_router_cache_heal_seconds',
    help: 'Time from finding a blob corrupt or gone until it is verified again',
    buckets: HEAL_BUCKETS,
    registers,
  });
  reconciler.onRun(({ healed }) => {
    for (const { afterMs } of healed) heal.observe(afterMs / 1_000);
  });
}
