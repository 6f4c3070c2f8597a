import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { spawnDaemon } from '../support/daemon-process.js';
import type { Golden } from '../support/load.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A volume as a daemon leaves it that has served. */
    template: string;
    golden: readonly Golden[];
    seed: number;
  }
}

const TEXTS: readonly string[] = [
  'Write a Python function that merges two sorted lists',
  'What is the weather in Lisbon tomorrow?',
  'Translate this sentence into French',
  'What is 17 times 23?',
  'Tell me a story about a dragon',
  'Summarize the following article in three points',
];

/** Fills a volume with an undisturbed daemon and records its answers; every test copies and compares them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-resilience-'));
  const template = join(folder, 'volume');
  const daemon = await spawnDaemon({
    MODEL_CACHE_DIR: template,
    HF_HUB_OFFLINE: '1',
    INFERENCE_WORKERS: '1',
  });
  try {
    await daemon.ready(60_000);
    const golden: Golden[] = [];
    for (const text of TEXTS) {
      const { status, body } = await daemon.post('/classify', { text });
      if (status !== 200) throw new Error(`no golden answer: ${status} ${JSON.stringify(body)}`);
      golden.push({ text, answer: body });
    }
    project.provide('golden', golden);
  } finally {
    await daemon.stop();
  }
  const isLong = process.env.RESILIENCE === 'long';
  const seed = Number(process.env.RESILIENCE_SEED ?? (isLong ? Math.floor(Math.random() * 1e6) : 1));
  if (isLong) process.stdout.write(`RESILIENCE_SEED=${seed}\n`);
  project.provide('template', template);
  project.provide('seed', seed);
  return () => rm(folder, { recursive: true, force: true });
}
