import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Counts the lines that a daemon writes to a terminal in four situations that a new user meets: the first boot, a boot
 * that heals a damaged file, twelve seconds without any source, and ten requests.
 *
 *   npm run first-hour                            this checkout
 *   npm run first-hour -- OTHER_CHECKOUT .        two, both built; --show prints the lines
 */

const OFFLINE_MS = 12_000;
const READY_MS = 120_000;

/** A daemon of a checkout and what it has written so far. */
class Terminal {
  readonly #child;
  #text = '';

  constructor(checkout: string, volume: string, env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, [join(checkout, 'dist/main.js'), 'serve'], {
      cwd: checkout,
      env: {
        PATH: process.env.PATH,
        PORT: '0',
        LOG_FORMAT: 'pretty',
        NO_COLOR: '1',
        ...OWN,
        ...env,
        MODEL_CACHE_DIR: volume,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  get lines(): string[] {
    return this.#text.split('\n').filter((line) => line !== '');
  }

  /** Waits until it can answer; returns its address. */
  async ready(): Promise<string> {
    const until = Date.now() + READY_MS;
    for (;;) {
      const url = /http:\/\/localhost:\d+/.exec(this.#text)?.[0];
      const answer = url === undefined ? undefined : await fetch(`${url}/readyz`).catch(() => undefined);
      if (url && answer?.ok && / ready\b/.test(this.#text)) return url;
      if (this.#child.exitCode !== null || Date.now() > until) throw new Error(`not ready:\n${this.#text}`);
      await sleep(50);
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'close');
  }
}

const OWN = { HF_HUB_OFFLINE: '1', OTEL_SDK_DISABLED: 'true' };

/** Flips one byte of the largest blob. */
async function damage(volume: string): Promise<void> {
  const folder = join(volume, 'blobs/sha256');
  const blobs = await Promise.all(
    (await readdir(folder)).map(async (name) => ({
      path: join(folder, name),
      bytes: await readFile(join(folder, name)),
    })),
  );
  const [largest] = blobs.sort((a, b) => b.bytes.length - a.bytes.length);
  if (!largest) throw new Error('the volume holds no blobs');
  largest.bytes[1_000] = (largest.bytes[1_000] ?? 0) ^ 1;
  await chmod(largest.path, 0o600);
  await writeFile(largest.path, largest.bytes);
}

/** The lines of each situation. */
async function watch(checkout: string, volume: string): Promise<Record<string, string[]>> {
  const running: Terminal[] = [];
  const start = (...args: ConstructorParameters<typeof Terminal>): Terminal => {
    const terminal = new Terminal(...args);
    running.push(terminal);
    return terminal;
  };
  try {
    const first = start(checkout, join(volume, 'first'));
    const url = await first.ready();
    const boot = first.lines;
    for (let request = 0; request < 10; request += 1) {
      const answer = await fetch(`${url}/classify`, {
        ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
        body: JSON.stringify({ text: `request number ${request}` }),
      });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
    }
    await sleep(500);
    const requests = first.lines.slice(boot.length);
    await first.stop();
    await damage(join(volume, 'first'));
    const second = start(checkout, join(volume, 'first'));
    await second.ready();
    await second.stop();
    const nowhere = { HF_HUB_OFFLINE: '0', MODEL_SOURCES: 'hub', HF_ENDPOINT: 'https://hub.invalid' };
    const offline = start(checkout, join(volume, 'offline'), nowhere);
    await sleep(OFFLINE_MS);
    await offline.stop();
    return {
      'first boot': boot,
      heal: second.lines,
      'offline, 12 s': offline.lines,
      'ten requests': requests,
    };
  } finally {
    for (const terminal of running) await terminal.stop();
  }
}

const args = process.argv.slice(2);
const checkouts = args.filter((arg) => !arg.startsWith('--'));
for (const checkout of checkouts.length > 0 ? checkouts : ['.']) {
  const volume = await mkdtemp(join(tmpdir(), 'first-hour-'));
  try {
    const logs = await watch(resolve(checkout), volume);
    process.stdout.write(`${checkout}\n`);
    for (const [situation, lines] of Object.entries(logs)) {
      process.stdout.write(`  ${situation.padEnd(14)} ${String(lines.length).padStart(4)} lines\n`);
      if (args.includes('--show')) process.stdout.write(`${lines.map((line) => `      ${line}\n`).join('')}`);
    }
  } finally {
    await rm(volume, { recursive: true, force: true });
  }
}
