import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Labelled } from './banking77.js';

const BATCH = 256;

/** A volume that several daemons use one after the other, so that no text is embedded twice. */
export async function withVolume<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Accuracy of the compiled daemon over HTTP, serving these routes, with `threshold: 0`. */
export async function accuracyOverHttp(
  folder: string,
  utterances: ReadonlyMap<string, readonly string[]>,
  test: readonly Labelled[],
): Promise<{ readonly accuracy: number; readonly readyMs: number; readonly method: string }> {
  const file = join(folder, 'routes.json');
  const routes = [...utterances].map(([name, texts]) => ({ name, utterances: texts }));
  await writeFile(file, JSON.stringify({ routes }));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const started = performance.now();
  const child = spawn(process.execPath, ['dist/main.js', 'serve'], {
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      HOST: '127.0.0.1',
      MODEL_CACHE_DIR: join(folder, 'volume'),
      ROUTES_FILE: file,
      HF_HUB_OFFLINE: '1',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(child, 'exit');
  try {
    for (;;) {
      const response = await fetch(`${url}/health`).catch(() => undefined);
      await response?.body?.cancel();
      if (response?.ok) break;
      if (child.exitCode !== null) throw new Error('the daemon ended');
      await sleep(50);
    }
    const readyMs = performance.now() - started;
    let right = 0;
    let method = '';
    for (let at = 0; at < test.length; at += BATCH) {
      const part = test.slice(at, at + BATCH);
      const response = await fetch(`${url}/classify/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ texts: part.map(({ text }) => text), threshold: 0, top_k: 1 }),
      });
      if (!response.ok) throw new Error(`status ${response.status}: ${await response.text()}`);
      const { results } = (await response.json()) as {
        results: { route: string | null; scorer: { method: string } }[];
      };
      for (const [i, { route, scorer }] of results.entries()) {
        if (route === part[i]?.route) right += 1;
        method = scorer.method;
      }
    }
    return { accuracy: right / test.length, readyMs, method };
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
