import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FileState } from '../../cache/cache-state.js';
import type { Reconciler } from '../../cache/reconciler.js';
import type { ContentStore } from '../../cache/store.js';
import { countersFrom } from './counters.js';

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

/** The state of the cache. */
export type CacheFacts = Pick<Reconciler, 'state' | 'lastReport' | 'volumeProblem' | 'onRun'>;

/** The volume, the pinned files on it, and their verifications. */
export function cacheMetrics(cache: CacheFacts, volume: VolumePort, registers: Registry[]): void {
  fileMetrics(cache, registers);
  volumeMetrics(cache, volume, registers);
  verificationMetrics(cache, registers);
}

function fileMetrics({ state: cached }: CacheFacts, registers: Registry[]): void {
  new Gauge({
    name: 'ai_router_cache_file_state',
    help: '1 for the state that a pinned file is in, 0 for the others',
    labelNames: ['path', 'state'],
    registers,
    collect() {
      for (const { path, state } of cached.files.values()) {
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
      for (const { path, bytes } of cached.files.values()) this.set({ path }, bytes);
    },
  });
  new Gauge({
    name: 'ai_router_cache_whole',
    help: 'Whether every pinned file is verified',
    registers,
    collect() {
      this.set(cached.whole ? 1 : 0);
    },
  });
}

function volumeMetrics(cache: CacheFacts, volume: VolumePort, registers: Registry[]): void {
  new Gauge({
    name: 'ai_router_volume_problem',
    help: '1 for what is wrong with the volume as such; absent when nothing is',
    labelNames: ['code'],
    registers,
    collect() {
      this.reset();
      if (cache.volumeProblem) this.set({ code: cache.volumeProblem.code }, 1);
    },
  });
  const watch = new VolumeWatch(volume);
  cache.onRun(() => void watch.look());
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

function verificationMetrics(cache: CacheFacts, registers: Registry[]): void {
  const { state } = cache;
  const counters = {
    verifications: 'Full verifications of the volume',
    corruptions: 'Corrupt blobs found',
    repairs: 'Corrupt blobs replaced',
    downloads: 'Blobs fetched',
  } as const;
  countersFrom('ai_router_cache', counters, registers, (key) => state.counters[key]);
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
      const report = cache.lastReport;
      if (report) this.set((Date.parse(report.started_at) + report.duration_ms) / 1_000);
      else this.remove();
    },
  });
  const heal = new Histogram({
    name: 'ai_router_cache_heal_seconds',
    help: 'Time from finding a blob corrupt or gone until it is verified again',
    buckets: HEAL_BUCKETS,
    registers,
  });
  cache.onRun(({ healed }) => {
    for (const { after_ms } of healed) heal.observe(after_ms / 1_000);
  });
}

/** The part of a volume that is watched. */
export interface VolumePort extends Pick<ContentStore, 'space'> {
  quarantined(): Promise<readonly unknown[]>;
}

/** Interval of looks at the volume, in milliseconds. */
const EVERY_MS = 5_000;
/** Time without an answer of the volume after which the last values are dropped, in milliseconds. */
const FORGET_AFTER_MS = 15_000;

/** Values of the volume. */
interface Sight {
  readonly space: Awaited<ReturnType<VolumePort['space']>>;
  readonly quarantined: number | undefined;
}

const NOTHING: Sight = { space: undefined, quarantined: undefined };

/**
 * Reads the values that only the volume has at intervals instead of on request, so that a volume that hangs does not
 * block `/metrics`.
 */
export class VolumeWatch {
  readonly #volume: VolumePort;
  /** Since when a look has been under way, on the clock of `performance.now()`. */
  #lookingSince: number | undefined;
  #seen = NOTHING;

  constructor(volume: VolumePort) {
    this.#volume = volume;
    void this.look();
    setInterval(() => void this.look(), EVERY_MS).unref();
  }

  /** Size and free space as of the last look; `undefined` while the volume does not tell. */
  get space(): Sight['space'] {
    return this.#seen.space;
  }

  /** Bad blobs that are kept as evidence, as of the last look; `undefined` while the volume does not tell. */
  get quarantined(): number | undefined {
    return this.#seen.quarantined;
  }

  /** Looks now, unless a look is under way. */
  async look(): Promise<void> {
    const now = performance.now();
    if (this.#lookingSince !== undefined) {
      if (now - this.#lookingSince > FORGET_AFTER_MS) this.#seen = NOTHING;
      return;
    }
    this.#lookingSince = now;
    const [space, quarantined] = await Promise.all([
      this.#volume.space().catch(() => undefined),
      this.#volume.quarantined().then(
        ({ length }) => length,
        () => undefined,
      ),
    ]);
    this.#seen = { space, quarantined };
    this.#lookingSince = undefined;
  }
}
