import { Counter, Histogram, type Registry } from 'prom-client';
import { FILE_STATES } from '../../api/cache.js';
import type { Reconciler } from '../../cache/reconciler.js';
import type { ContentStore } from '../../cache/store.js';
import { counters, gauge, gauges, type Sample } from './instruments.js';

/** Upper bounds of the buckets for the time to heal, in seconds. */
const HEAL_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 86_400];

export type CacheFacts = Pick<Reconciler, 'state' | 'lastReport' | 'volumeProblem' | 'onRun'>;

/** The volume, the pinned files on it, and their verifications. */
export function cacheMetrics(cache: CacheFacts, volume: VolumePort, registers: Registry[]): void {
  fileMetrics(cache, registers);
  volumeMetrics(cache, volume, registers);
  verificationMetrics(cache, registers);
}

function fileMetrics({ state }: CacheFacts, registers: Registry[]): void {
  const files = () => [...state.files.values()];
  gauges(
    registers,
    'cache_file_state',
    '1 for the state that a pinned file is in, 0 for the others',
    ['path', 'state'],
    () =>
      files().flatMap((file) =>
        FILE_STATES.map((each): Sample => [{ path: file.path, state: each }, each === file.state]),
      ),
  );
  const help = 'Bytes of a pinned file that are on the volume';
  gauges(registers, 'cache_file_bytes', help, ['path'], () =>
    files().map(({ path, bytes }) => [{ path }, bytes]),
  );
  gauge(registers, 'cache_whole', 'Whether every pinned file is verified', () => state.whole);
}

function volumeMetrics(cache: CacheFacts, volume: VolumePort, registers: Registry[]): void {
  const help = '1 for what is wrong with the volume as such; absent when nothing is';
  gauges(registers, 'volume_problem', help, ['code'], () =>
    cache.volumeProblem ? [[{ code: cache.volumeProblem.code }, 1]] : [],
  );
  const watch = new VolumeWatch(volume);
  cache.onRun(() => void watch.look());
  gauge(registers, 'volume_free_bytes', 'Free space on the volume', () => watch.seen.space?.freeBytes);
  gauge(registers, 'volume_total_bytes', 'Size of the volume', () => watch.seen.space?.totalBytes);
  const evidence = 'Bad blobs that are kept as evidence';
  gauge(registers, 'cache_quarantined_blobs', evidence, () => watch.seen.quarantined);
}

function verificationMetrics(cache: CacheFacts, registers: Registry[]): void {
  const { state } = cache;
  const totals = {
    verifications: 'Full verifications of the volume',
    corruptions: 'Corrupt blobs found',
    repairs: 'Corrupt blobs replaced',
    downloads: 'Blobs fetched',
  } as const;
  counters(registers, 'cache_', totals, (key) => state.counters[key]);
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
  gauge(
    registers,
    'cache_last_verification_timestamp_seconds',
    'When the last full verification ended, in seconds since 1970; absent before the first',
    () => {
      const report = cache.lastReport;
      return report && (Date.parse(report.started_at) + report.duration_ms) / 1_000;
    },
  );
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
  /** As of the last look; `undefined` while the volume does not tell. */
  seen = NOTHING;

  constructor(volume: VolumePort) {
    this.#volume = volume;
    void this.look();
    setInterval(() => void this.look(), EVERY_MS).unref();
  }

  /** Looks now, unless a look is under way. */
  async look(): Promise<void> {
    const now = performance.now();
    if (this.#lookingSince !== undefined) {
      if (now - this.#lookingSince > FORGET_AFTER_MS) this.seen = NOTHING;
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
    this.seen = { space, quarantined };
    this.#lookingSince = undefined;
  }
}
