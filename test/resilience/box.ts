import { type ChildProcess, spawnSync } from 'node:child_process';
import { chown, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { test as base, expect, inject } from 'vitest';
import type { CacheStatus } from '../../src/api/cache.js';
import type { Health } from '../../src/api/health.js';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { PROGRAM, type SpawnOptions, spawnDaemon, type TestDaemon } from '../support/daemon-process.js';
import { eventually } from '../support/eventually.js';
import type { Golden } from '../support/load.js';
import { Origin, type OriginOptions } from '../support/origin.js';
import { killGroup } from '../support/processes.js';
import { Random } from '../support/random.js';
import { type Ended, startProgram } from '../support/run.js';
import { JSON_TYPE, requestBytes, Wire } from '../support/wire.js';

/** The long form (`npm run resilience`): every case, large counts, verdicts on times. Else: what `npm test` runs. */
export const LONG = process.env.RESILIENCE === 'long';

/** Digests (hex) of the largest files of the built-in q8 model. */
export const MODEL_DIGEST = 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1';
export const TOKENIZER_DIGEST = 'da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0';

/** The manifest of the built-in model. */
export const manifest: Manifest = await loadManifest(builtInManifest('q8'));

/** Command prefix of a process that is not root. */
const AS_NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

/** One worker, no network, no verification by the clock, and each answer needs a worker. */
const QUIET = {
  HF_HUB_OFFLINE: '1',
  VERIFY_CRON: '0 0 29 2 *',
  INFERENCE_WORKERS: '1',
  EMBEDDING_CACHE_BYTES: '0',
};

/** Returns one or the other count. */
export function count(short: number, long: number): number {
  return LONG ? long : short;
}

/** Returns the cases of a table that this form runs: in the short form the first few. */
export function some<T>(all: readonly T[], short: number): readonly T[] {
  return LONG ? all : all.slice(0, short);
}

/** A daemon in a mount namespace of its own, where its volume is a small file system. */
export interface Mounted {
  readonly daemon: TestDaemon;
  /** Returns a path on the volume, as this process reaches it. */
  inside(path: string): string;
  /** Runs `mount` with these options on the volume, in the daemon's namespace. */
  mount(options: string): void;
}

/** The folders, processes and servers of one test; they end with it, also when the run is interrupted. */
export class Box {
  readonly random: Random;
  readonly golden = inject('golden');
  readonly #folders: string[] = [];
  readonly #children: ChildProcess[] = [];
  /** Tools that started daemons. */
  readonly #groups: ChildProcess[] = [];
  readonly #origins: Origin[] = [];

  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    const hash = [...name].reduce((sum, sign) => (Math.imul(sum, 31) + sign.charCodeAt(0)) >>> 0, 7);
    this.random = new Random(inject('seed') * 1_000 + hash);
    process.on('exit', this.#end);
  }

  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'ai-router-box-'));
    this.#folders.push(folder);
    return folder;
  }

  /** Returns the path of a volume that does not exist yet. */
  async noVolume(): Promise<string> {
    return join(await this.folder(), 'volume');
  }

  /** Copies the volume of a daemon that has served. */
  async filledVolume(): Promise<string> {
    const volume = await this.noVolume();
    await cp(inject('template'), volume, { recursive: true, mode: 2 });
    return volume;
  }

  /** Writes a manifest to a file of its own; its recipe, which lies beside the built-in one, is left out. */
  async manifestFile({ digest: _, recipe: _1, recipeText: _2, ...content }: Manifest): Promise<string> {
    const file = join(await this.folder(), 'manifest.json');
    await writeFile(file, JSON.stringify(content));
    return file;
  }

  /** Starts a daemon; it listens when this resolves. */
  daemon(env: Readonly<Record<string, string>>, options: SpawnOptions = {}): Promise<TestDaemon> {
    const all = options.command ? this.#groups : this.#children;
    return spawnDaemon({ ...QUIET, ...env }, { ...options, onSpawn: (child) => all.push(child) });
  }

  /** Starts a daemon on a filled volume and waits until it is ready. */
  async serving(
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ daemon: TestDaemon; volume: string; blob: string }> {
    const volume = await this.filledVolume();
    const daemon = await this.daemon({ MODEL_CACHE_DIR: volume, ...env });
    await daemon.ready(60_000);
    return { daemon, volume, blob: join(volume, 'blobs/sha256', MODEL_DIGEST) };
  }

  /** Starts a daemon that is not root, on a volume of its user. */
  async asNobody(volume: string): Promise<TestDaemon> {
    for (const path of ['..', '.', ...(await readdir(volume, { recursive: true }))])
      await chown(join(volume, path), 65534, 65534);
    return this.daemonAsNobody(volume);
  }

  /** Starts a daemon that is not root. */
  daemonAsNobody(volume: string): Promise<TestDaemon> {
    return this.daemon(
      { MODEL_CACHE_DIR: volume },
      { command: [...AS_NOBODY, process.execPath, ...PROGRAM] },
    );
  }

  /** Starts a daemon on a tmpfs in a mount namespace of its own. */
  async mounted(options: {
    readonly sizeMiB: number;
    /** Default: true. */
    readonly mount?: boolean;
    readonly filled?: boolean;
    readonly env?: Readonly<Record<string, string>>;
  }): Promise<Mounted> {
    const { sizeMiB, mount = true, filled = false, env = {} } = options;
    const volume = await this.noVolume();
    await mkdir(volume);
    const steps = [
      ...(mount ? [`mount -t tmpfs -o size=${sizeMiB}m none ${volume}`] : []),
      ...(filled ? [`cp -a ${inject('template')}/. ${volume}/`] : []),
      `exec ${process.execPath} ${PROGRAM.join(' ')}`,
    ];
    const command = ['unshare', '-m', 'sh', '-c', steps.join(' && ')];
    const daemon = await this.daemon({ MODEL_CACHE_DIR: volume, ...env }, { command });
    const pid = pidOf(daemon);
    return {
      daemon,
      inside: (path) => `/proc/${pid}/root${join(volume, path)}`,
      mount: (how) => {
        const args = ['-t', String(pid), '-m', 'mount', ...how.split(' '), volume];
        expect(spawnSync('nsenter', args, { encoding: 'utf8' })).toMatchObject({ status: 0 });
      },
    };
  }

  /** Starts a program, by default a command of the compiled program. */
  start(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    command: readonly string[] = [process.execPath, 'dist/main.js'],
  ): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
    const base = { HOME: process.env.HOME, HF_HUB_OFFLINE: '1' };
    const { child, ended } = startProgram([...command, ...args], { ...base, ...env });
    this.own(child);
    return { child, ended };
  }

  /** Runs a command to its end. */
  run(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    command?: readonly string[],
  ): Promise<Ended> {
    return this.start(args, env, command).ended;
  }

  async origin(options: OriginOptions = {}): Promise<Origin> {
    const origin = await Origin.start(options);
    this.#origins.push(origin);
    return origin;
  }

  /** Starts a hub that has the built-in model, and returns it with the settings of a daemon that uses it. */
  async hub(options: OriginOptions = {}): Promise<{ origin: Origin; env: Record<string, string> }> {
    const origin = await this.origin(options);
    const { repo, revision, files } = manifest;
    for (const { path } of files)
      origin.put(`/${repo}/resolve/${revision}/${path}`, await readFile(join('model', path)));
    return { origin, env: { MODEL_SOURCES: 'hub', HF_ENDPOINT: origin.url, HF_HUB_OFFLINE: 'false' } };
  }

  /** Puts a daemon under constant load. */
  load(daemon: TestDaemon): GoldenLoad {
    return new GoldenLoad(daemon.url, this.golden);
  }

  /** Expects the golden answers of a daemon. */
  async expectGolden(daemon: TestDaemon): Promise<void> {
    for (const { text, answer } of this.golden)
      expect(await daemon.post('/classify', { text })).toMatchObject({ status: 200, body: answer });
  }

  /** Prints a figure, in the long form. */
  note(text: string): void {
    if (LONG) process.stdout.write(`${this.#name}: ${text}\n`);
  }

  /** Measures how long `work` takes, in milliseconds; the long form expects less than `limit`. */
  async timed(what: string, limit: number, work: () => Promise<unknown>): Promise<void> {
    const since = performance.now();
    await work();
    const ms = performance.now() - since;
    this.note(`${what}: ${Math.round(ms)} ms`);
    if (LONG) expect(ms, what).toBeLessThan(limit);
  }

  /** Ends a process with the test. */
  own(child: ChildProcess): void {
    this.#children.push(child);
  }

  /** Ends every process and removes every folder. */
  async close(): Promise<void> {
    this.#end();
    process.off('exit', this.#end);
    await Promise.all(this.#origins.map((origin) => origin.close()));
    await Promise.all(
      this.#folders.map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 5 })),
    );
  }

  readonly #end = (): void => {
    for (const leader of this.#groups) killGroup(leader);
    for (const child of this.#children) child.kill('SIGKILL');
  };
}

/** `it` with a {@link Box}; tests of one file run at the same time where they are marked `concurrent`. */
export const it = base.extend<{ box: Box }>({
  box: async ({ task }, use) => {
    const box = new Box(task.name);
    await use(box);
    await box.close();
  },
});

/** `it` of the long form only. */
export const longIt = it.runIf(LONG);

/** Constant classification over two connections that stay open; every answer has to be the golden one. */
export class GoldenLoad {
  /** Holds a connection for other requests, whatever the clients do. */
  readonly #other: Wire;
  readonly #wire: Wire;
  readonly #clients: Promise<void>[];
  readonly #faults: string[] = [];
  #going = true;
  #sent = 0;

  constructor(url: string, golden: readonly Golden[]) {
    this.#other = new Wire(url, { maxIdleMs: Number.POSITIVE_INFINITY });
    this.#wire = new Wire(url, { maxIdleMs: Number.POSITIVE_INFINITY });
    this.#clients = [0, 1].map(async (client) => {
      for (let round = client; this.#going; round += 1) {
        this.#sent += 1;
        await askGolden(this.#wire, golden[round % golden.length]).catch((error: unknown) =>
          this.#faults.push(String(error)),
        );
        await sleep(3);
      }
    });
  }

  /** Sends a `GET` over a connection that stays open from the first one on. */
  async get<T>(path: string): Promise<T> {
    const answer = await this.#other.ask(requestBytes('GET', path), { timeoutMs: 60_000 });
    return JSON.parse(answer?.body.toString('utf8') ?? '') as T;
  }

  /** Waits for so many further answers. */
  async answers(more: number): Promise<void> {
    const from = this.#sent;
    await eventually(() => expect(this.#sent).toBeGreaterThanOrEqual(from + more), { within: 60_000 });
  }

  /** Ends the load and expects that no request failed. */
  async stop(): Promise<void> {
    this.#going = false;
    await Promise.all(this.#clients);
    this.#wire.close();
    this.#other.close();
    expect(this.#faults.slice(0, 3)).toEqual([]);
    expect(this.#sent).toBeGreaterThan(0);
  }
}

/** @throws Error when a good request does not get the answer of an undisturbed daemon */
export async function askGolden(wire: Wire, golden: Golden | undefined, timeoutMs = 60_000): Promise<void> {
  if (!golden) throw new Error('no golden answers');
  const body = JSON.stringify({ text: golden.text });
  const answer = await wire.ask(requestBytes('POST', '/classify', [JSON_TYPE], body), { timeoutMs });
  const text = answer?.body.toString('utf8') ?? '';
  if (answer?.status !== 200) throw new Error(`a good request got ${answer?.status} ${text}`);
  if (!isDeepStrictEqual(JSON.parse(text), golden.answer))
    throw new Error(`a good request got another answer: ${text.slice(0, 300)}`);
}

/** Returns the daemon's own process id: the started process may be a tool that started it. */
export function pidOf({ lines, child }: TestDaemon): number {
  return Number(lines.find(({ msg }) => msg === 'listening')?.pid ?? child.pid);
}

export async function statusOf(daemon: TestDaemon): Promise<CacheStatus> {
  return (await daemon.get<CacheStatus>('/cache/status')).body;
}

export async function healthOf(daemon: TestDaemon): Promise<Health> {
  return (await daemon.get<Health>('/health')).body;
}

/** Waits until `/cache/status` and `/health` name the volume's problem, and returns its message. */
export async function volumeProblem(daemon: TestDaemon, code: string, within = 30_000): Promise<string> {
  const message = await eventually(
    async () => {
      const { problem } = (await statusOf(daemon)).volume;
      expect(problem?.code).toBe(code);
      return problem?.message ?? '';
    },
    { within },
  );
  expect((await healthOf(daemon)).checks.volume).toMatchObject({ ok: false, code });
  return message;
}

/** Waits until every pinned file is verified and the volume has no problem. */
export function whole(daemon: TestDaemon, within = 30_000): Promise<CacheStatus> {
  return eventually(
    async () => {
      const status = await statusOf(daemon);
      expect(status).toMatchObject({ whole: true, volume: { problem: null } });
      return status;
    },
    { within },
  );
}

/** Waits for two more verifications, and returns how long after the first of them the second began, in milliseconds. */
export async function pauseOfRuns(daemon: TestDaemon): Promise<number> {
  const startOfNext = async (after: number): Promise<number> =>
    eventually(
      async () => {
        const start = Date.parse((await statusOf(daemon)).verification.last?.started_at ?? '');
        expect(start).toBeGreaterThan(after);
        return start;
      },
      { within: 180_000 },
    );
  const first = await startOfNext(Date.now());
  return (await startOfNext(first)) - first;
}
