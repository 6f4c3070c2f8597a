import { setTimeout as sleep } from 'node:timers/promises';
import type { HealthReport } from '../src/api/health.js';
import type { TestDaemon } from '../test/support/daemon-process.js';

/** What the campaign reads of `/cache/status`. */
export interface CacheStatus {
  readonly whole: boolean;
  readonly volume: { readonly problem: { readonly code: string; readonly message: string } | null };
  readonly files: readonly {
    readonly path: string;
    readonly state: string;
    readonly reason: string | null;
  }[];
  readonly verification: { readonly running: boolean; readonly retry: string | null };
  readonly counters: {
    readonly verifications: number;
    readonly corruptions: number;
    readonly repairs: number;
    readonly downloads: number;
    readonly downloaded_bytes: number;
  };
  readonly quarantine: readonly { readonly path: string | null; readonly reason: string }[];
  readonly events: readonly { readonly kind: string; readonly message: string }[];
}

/** Asks until `find` returns something. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  find: () => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const found = await find();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`);
    await sleep(15);
  }
}

export async function statusOf(daemon: TestDaemon): Promise<CacheStatus> {
  return (await daemon.get<CacheStatus>('/cache/status')).body;
}

export async function healthOf(daemon: TestDaemon): Promise<HealthReport> {
  return (await daemon.get<HealthReport>('/health')).body;
}

/** Waits until `/cache/status` and `/health` both give the volume's trouble this name. */
export async function volumeProblem(daemon: TestDaemon, code: string, timeoutMs = 15_000): Promise<string> {
  const message = await until(`volume problem ${code}`, timeoutMs, async () => {
    const { problem } = (await statusOf(daemon)).volume;
    return problem?.code === code ? problem.message : undefined;
  });
  const check = (await healthOf(daemon)).checks.volume;
  if (check?.code !== code) throw new Error(`/health calls it ${check?.code}, not ${code}`);
  return message;
}

/** Waits until every pinned file is verified and the volume has no trouble. */
export async function wholesome(daemon: TestDaemon, timeoutMs = 30_000): Promise<CacheStatus> {
  return until('a whole cache on a volume without trouble', timeoutMs, async () => {
    const status = await statusOf(daemon);
    return status.whole && status.volume.problem === null ? status : undefined;
  });
}
