import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../src/shared/errors.js';
import { spawnDaemon } from '../test/support/daemon-process.js';
import { type Golden, goldenAnswers } from './load.js';
import { Random } from './random.js';
import type { Row } from './row.js';
import { Sandbox } from './sandbox.js';
import { Trial, type Verdict } from './trial.js';

/** What a campaign is run with. */
export interface CampaignOptions {
  readonly seed: number;
  /** Small counts, for every `npm test`. */
  readonly short: boolean;
  readonly rows: readonly Row[];
  /** Rows at a time. */
  readonly concurrency?: number;
  /** Told of each row's end. */
  readonly onVerdict?: (verdict: Verdict) => void;
  /** Told of each injection that was not survived, at once. */
  readonly onShortfall?: (row: number, shortfall: string) => void;
  /** Told after every hundred injections of a row. */
  readonly onProgress?: (row: number, tried: number, survived: number) => void;
}

/** Runs rows of a catalogue and returns what each came to, in their order. */
export async function runCampaign(options: CampaignOptions): Promise<Verdict[]> {
  const { rows, concurrency = 1, onVerdict } = options;
  const template = await mkdtemp(join(tmpdir(), 'ai-router-campaign-template-'));
  try {
    const golden = await prepare(join(template, 'volume'));
    const verdicts: Verdict[] = [];
    // The long ones first, so that the others fill the lanes beside them.
    const queue =
      concurrency === 1
        ? [...rows]
        : rows.toSorted((a, b) => Number(b.long ?? false) - Number(a.long ?? false));
    const lane = async (): Promise<void> => {
      for (let row = queue.shift(); row; row = queue.shift()) {
        const verdict = await runRow(row, new Sandbox(join(template, 'volume'), golden), options);
        verdicts.push(verdict);
        onVerdict?.(verdict);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return verdicts.sort((a, b) => a.row - b.row);
  } finally {
    await rm(template, { recursive: true, force: true });
  }
}

async function runRow(
  row: Row,
  sandbox: Sandbox,
  { seed, short, onProgress, onShortfall }: CampaignOptions,
): Promise<Verdict> {
  // Each row has its own sequence, so that it can be run alone.
  const trial = new Trial(short, new Random(seed * 1_000 + row.number), sandbox, {
    onProgress: (tried, survived) => onProgress?.(row.number, tried, survived),
    onShortfall: (shortfall) => onShortfall?.(row.number, shortfall),
  });
  try {
    await row.run(trial);
  } catch (error) {
    await trial.attempt('the row itself', () => Promise.reject(new Error(messageOf(error))));
  } finally {
    await sandbox.close();
  }
  return trial.verdict(row.number, row.fault);
}

/** Fills a volume with an undisturbed daemon, and asks it for the golden answers. */
async function prepare(volume: string): Promise<Golden[]> {
  const daemon = await spawnDaemon({ MODEL_CACHE_DIR: volume, HF_HUB_OFFLINE: '1', INFERENCE_WORKERS: '1' });
  try {
    await daemon.ready(60_000);
    return await goldenAnswers(daemon.url);
  } finally {
    await daemon.stop();
  }
}
