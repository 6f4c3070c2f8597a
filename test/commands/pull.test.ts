import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import type { Manifest } from '../../src/cache/manifest.js';
import { eventually } from '../support/eventually.js';
import { startHub } from '../support/hub-origin.js';
import { freePort } from '../support/listen.js';
import { Origin } from '../support/origin.js';
import { tarOf } from '../support/tar.js';
import { smallModel, temporaryFolder, writeTree } from '../support/volume.js';
import { manifestFile, run, runJson, start } from './program.js';

interface PullReport {
  whole: boolean;
  fetched: string[];
  bytes_received: number;
  bytes_resumed: number;
  sources: string[];
  failures: { source: string; path: string; code: string }[];
  error: { code: string } | null;
}

const { manifest, files } = smallModel();
const contents = Object.fromEntries(files);
const total = manifest.files.reduce((sum, { size }) => sum + size, 0);

async function origin(bytesPerSecond?: number): Promise<Origin> {
  const started = await Origin.start(bytesPerSecond === undefined ? {} : { bytesPerSecond });
  onTestFinished(() => started.close());
  return started;
}

/** A file tree. */
async function treeOrigin(bytesPerSecond?: number): Promise<Origin> {
  const tree = await origin(bytesPerSecond);
  for (const [path, bytes] of files) tree.put(`/model/${path}`, bytes);
  return tree;
}

async function expectWhole(volume: string, of: Manifest = manifest): Promise<void> {
  for (const { path, sha256 } of of.files) {
    const blob = await readFile(blobPath(layoutOf(volume), sha256));
    expect(blob.equals(files.get(path) ?? Buffer.alloc(0))).toBe(true);
  }
}

describe('pull fills the cache from', () => {
  it.each(['bundled', 'hub', 'file tree', 'archive'])('%s', async (kind) => {
    const volume = await temporaryFolder();
    const env: Record<string, string> = {
      MODEL_CACHE_DIR: volume,
      MODEL_MANIFEST: await manifestFile(manifest),
    };
    let requests = (): number => 0;
    if (kind === 'bundled') {
      const folder = await temporaryFolder();
      await writeTree(folder, files);
      Object.assign(env, { MODEL_SOURCES: 'bundled', MODEL_BUNDLED_DIR: folder });
    } else if (kind === 'hub') {
      const hub = await startHub({ files: contents, repo: manifest.repo, revision: manifest.revision });
      onTestFinished(() => hub.close());
      requests = () => hub.requestCount;
      Object.assign(env, { MODEL_SOURCES: 'hub', HF_ENDPOINT: hub.endpoint.url, HF_HUB_OFFLINE: '0' });
    } else {
      const server = kind === 'archive' ? await origin() : await treeOrigin();
      server.put('/model.tar.gz', gzipSync(tarOf(contents)));
      const url = kind === 'archive' ? `${server.url}/model.tar.gz?signature=s` : `${server.url}/model`;
      requests = () => server.requests.length;
      Object.assign(env, { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: url });
    }

    const first = await runJson<PullReport>(['pull'], env);
    expect(first).toMatchObject({ code: 0, report: { whole: true, bytes_received: total, error: null } });
    expect(first.report.fetched.sort()).toEqual(manifest.files.map(({ path }) => path).sort());
    await expectWhole(volume);
    const asked = requests();
    expect(asked > 0).toBe(kind !== 'bundled');

    const second = await runJson<PullReport>(['pull'], env);
    expect(second).toMatchObject({ code: 0, report: { whole: true, fetched: [], bytes_received: 0 } });
    expect(requests()).toBe(asked);
    expect(first.stdout + first.stderr).not.toContain('signature');
  });
});

describe('pull', () => {
  it('names each source that failed, goes on to the next, and ends with 0', async () => {
    const tree = await treeOrigin();
    const { code, report, stderr } = await runJson<PullReport>(['pull'], {
      MODEL_CACHE_DIR: await temporaryFolder(),
      MODEL_MANIFEST: await manifestFile(manifest),
      MODEL_SOURCES: 'bundled,mirror',
      MODEL_BUNDLED_DIR: await temporaryFolder(),
      MODEL_MIRRORS: `${tree.url}/model`,
    });
    expect(code).toBe(0);
    expect(report.failures).toHaveLength(3);
    expect(report.failures[0]).toMatchObject({ source: 'bundled', code: 'source_not_found' });
    expect(stderr).toMatch(/bundled: .*no such file/);
  });

  it('ends with 1 when some file can be had nowhere', async () => {
    const { code, report, stderr } = await runJson<PullReport>(['pull'], {
      MODEL_CACHE_DIR: await temporaryFolder(),
      MODEL_MANIFEST: await manifestFile(manifest),
      MODEL_SOURCES: 'bundled',
      MODEL_BUNDLED_DIR: await temporaryFolder(),
    });
    expect(code).toBe(1);
    expect(report).toMatchObject({ whole: false, error: { code: 'sources_exhausted' } });
    expect(stderr).toContain('no source delivers the 3 missing files');
  });

  it('writes a plain line every few seconds where stderr is no terminal', async () => {
    const tree = await treeOrigin(80_000);
    const { code, stdout, stderr } = await run(
      ['pull', '--sources', 'mirror', '--mirrors', `${tree.url}/model`],
      { MODEL_CACHE_DIR: await temporaryFolder(), MODEL_MANIFEST: await manifestFile(manifest) },
    );
    expect(code).toBe(0);
    expect(stderr).toMatch(/\d+% {2}[\d.]+ kB of 305\.1 kB {2}[\d.]+ kB\/s {2}[\d.]+ s left/);
    expect(stderr).toMatch(/^onnx\/model\.onnx: 300\.0 kB received$/m);
    expect(stderr).not.toContain('\r');
    expect(stdout).toMatch(/: whole: test\/small@aaaaaaaaaaaa \(q8\), 3 files, 305\.1 kB\nfetched 3 files/);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'keeps what it has on %s, and says so by its status',
    async (signal) => {
      const tree = await treeOrigin(100_000);
      const env = {
        MODEL_CACHE_DIR: await temporaryFolder(),
        MODEL_MANIFEST: await manifestFile(manifest),
        MODEL_SOURCES: 'mirror',
        MODEL_MIRRORS: `${tree.url}/model`,
      };
      const first = start(['pull'], env);
      await eventually(() => expect(tree.bytesSent).toBeGreaterThan(50_000));
      first.child.kill(signal);
      expect((await first.ended).code).toBe(signal === 'SIGINT' ? 130 : 143);
      const { report } = await runJson<PullReport>(['pull', '--quiet'], env);
      expect(report).toMatchObject({ whole: true });
      expect(report.bytes_resumed).toBeGreaterThan(0);
    },
  );

  it('pins fp32 by its variant, whose weights are not bundled', async () => {
    const volume = await temporaryFolder();
    const { code, report } = await runJson<PullReport>(
      ['pull', '--variant', 'fp32', '--sources', 'bundled', '--cache-dir', volume],
      { MODEL_MANIFEST: join(volume, 'none.json') },
    );
    expect(code).toBe(1);
    expect(report.failures).toMatchObject([{ path: 'onnx/model.onnx', code: 'source_not_found' }]);
    expect(report.fetched).toContain('tokenizer.json');
  });
});

it('says of several files that fail alike once that their source is tried again', async () => {
  const tree = await treeOrigin();
  tree.faultAlways('*', { kind: 'status', status: 503 });
  const env = { MODEL_MANIFEST: await manifestFile(manifest), MODEL_CACHE_DIR: await temporaryFolder() };
  const { stderr } = await run(['pull', '--sources', 'mirror', '--mirrors', `${tree.url}/model`], env);
  const told = stderr.split('\n').filter((line) => line.includes('; again in '));
  expect(told.length).toBeGreaterThan(3);
  expect(told.length).toBeLessThan(4 * files.size);
});

describe('usage', () => {
  it.each([
    [['pull', '--bogus'], /there is no option --bogus\n/],
    [['verify', '--cache-dirr', 'x'], /there is no option --cache-dirr; did you mean --cache-dir\?/],
    [['verify', '--cache-dir'], /--cache-dir needs a value: --cache-dir DIR/],
    [['verify', '--repair=yes'], /--repair takes no value/],
    [['status', 'README.md'], /README\.md is a file, not a cache folder/],
    [['verify', '--manifest', 'README.md'], /README\.md is no manifest: it is not JSON/],
    [['pull', 'operand'], /takes no operands/],
    [['pin'], /needs an operand: ai-router pin <org\/name>@<revision>/],
    [['pull', '--sources', 'cdn'], /--sources must be one of/],
    [['pull', '--manifest', '/nowhere.json'], /cannot read the manifest .*: it does not exist/],
    [['bogus'], /there is no command "bogus"\n/],
    [['lnt'], /there is no command "lnt"; did you mean "lint"\?/],
    [['serve', '--bogus'], /--bogus/],
    [['serve', '--port', 'x', '--json'], /\n {2}--port must be a whole number/],
    [['eval', '/nowhere/a.csv'], /\/nowhere\/a\.csv does not exist \(looked in \/nowhere\)/],
    [['lint', '/tmp'], /\/tmp is a folder/],
  ])('%j ends with 2', async (args, message) => {
    const { code, stderr } = await run(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  it('is short with --help; settings have a page of their own, without Markdown', async () => {
    const { stdout } = await run(['--help']);
    expect(stdout.split('\n').length).toBeLessThan(24);
    expect(stdout).toContain('ai-router help settings');
    const { report } = await runJson<{ settings: { name: string; default: string }[] }>(['help', 'settings']);
    expect(report.settings).toContainEqual(expect.objectContaining({ name: 'PORT', default: '3000' }));
    expect((await run(['help', 'settings'])).stdout).toMatch(/^ {2}PORT +TCP port.*\n +default: 3000$/m);
  });

  it('asks whether a daemon runs where nothing listens', async () => {
    const { stderr } = await run(['status', `http://127.0.0.1:${await freePort()}`]);
    expect(stderr).toMatch(
      /127\.0\.0\.1:\d+: refuses connections \(ECONNREFUSED\): is a daemon running there\?/,
    );
  });

  it('names the fault in --json, too', async () => {
    const { code, report } = await runJson<{ ok: boolean; error: object }>(['verify', '--manifest', '/none']);
    expect(code).toBe(2);
    expect(report).toMatchObject({ command: 'verify', ok: false, error: { code: 'manifest_invalid' } });
  });

  it('colours words on a terminal, unless NO_COLOR is set', async () => {
    const env = { HF_HUB_OFFLINE: '1', TERM: 'xterm-256color', MODEL_CACHE_DIR: await temporaryFolder() };
    const terminal = (more: object = {}): string =>
      execFileSync('script', ['-qec', 'node dist/main.js verify || true', '/dev/null'], {
        ...{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
        env: { PATH: process.env.PATH, ...env, ...more },
      });
    expect(terminal()).toContain('\u001b[31mNOT whole\u001b[39m');
    expect(terminal({ NO_COLOR: '1' })).not.toContain('\u001b[');
    expect((await run(['verify'], env)).stdout).not.toContain('\u001b[');
  });

  it('lists commands and settings in JSON', async () => {
    const { code, stdout } = await run(['help', '--json']);
    expect(code).toBe(0);
    const { commands, settings } = JSON.parse(stdout) as Record<
      string,
      { name?: string; command?: string }[]
    >;
    expect(commands?.map(({ command }) => command)).toContain('serve');
    expect(settings?.map(({ name }) => name)).toContain('MODEL_CACHE_DIR');
  });

  it.each(['serve', 'pull', 'verify', 'status', 'prune', 'pin', 'doctor', 'lint', 'eval'])(
    '%s --help tells options and exit status',
    async (name) => {
      const { code, stdout } = await run([name, '--help']);
      expect(code).toBe(0);
      expect(stdout).toMatch(/--json/);
      expect(stdout).toMatch(/Exit status: 0 .*1 .*; 2 for wrong usage/s);
      expect(await run(['help', name])).toMatchObject({ code: 0, stdout });
    },
  );
});
