import { copyFile, cp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { PROGRAM, SMALL, servingDaemon, startDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { startHub } from '../support/hub-origin.js';
import { listen } from '../support/listen.js';
import { isAlive } from '../support/processes.js';
import { runFrom } from '../support/run.js';
import { temporaryFolder } from '../support/volume.js';

/** Runs the program to its end. */
const run = (args: readonly string[], env: Record<string, string> = {}) => runFrom('.', args, env);

describe('settings', () => {
  it('name a manifest that is wrong', async () => {
    const folder = await temporaryFolder();
    const manifest = await readFile('model/manifest.json', 'utf8');
    await writeFile(join(folder, 'm.json'), manifest.replace('"tokenizer.json"', '"../tokenizer.json"'));
    const { code, stderr } = await run(PROGRAM, { MODEL_MANIFEST: join(folder, 'm.json') });
    expect(code).toBe(2);
    expect(stderr).toMatch(/m\.json is not a valid manifest:[\s\S]*path/);
  });

  it('name the line of a route file that is wrong', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'routes.yaml'), 'routes:\n  - name: a\n    utterances: 7\n');
    const { code, stderr } = await run(PROGRAM, { ROUTES_FILE: join(folder, 'routes.yaml') });
    expect(code).toBe(2);
    expect(stderr).toMatch(/routes\.yaml:3:\d+: .*utterances/);
  });

  it('name a port that is taken', async () => {
    const server = createServer();
    const port = String(await listen(server));
    onTestFinished(() => void server.close());
    const { code, stderr } = await run(PROGRAM, {
      PORT: port,
      HOST: '127.0.0.1',
      MODEL_CACHE_DIR: await temporaryFolder(),
      LOG_LEVEL: 'silent',
    });
    expect(code).toBe(2);
    expect(stderr).toMatch(/in use; set PORT/);
  });

  it.each(['x86_64-conda-linux-gnu', '203.0.113.7'])('show HOST=%s, and what is allowed', async (host) => {
    const { code, stderr } = await run(PROGRAM, { HOST: host, PORT: '0', LOG_LEVEL: 'silent' });
    expect(code).toBe(2);
    expect(stderr).toMatch(
      new RegExp(`HOST="${host}" is no address of this machine; unset it .* such as 0\\.0\\.0\\.0`),
    );
  });

  it('are all in the help', async () => {
    const { code, stdout } = await run(['dist/main.js', 'help', 'settings']);
    expect(code).toBe(0);
    const { SETTINGS } = await import('../../src/config/settings.js');
    for (const { env } of Object.values(SETTINGS)) expect(stdout).toContain(env);
  });

  it('tell the version', async () => {
    expect((await run(['dist/main.js', '--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('SIGTERM', () => {
  it('in the middle of a download keeps the partial file, and the next boot goes on from there', async () => {
    const volume = await temporaryFolder();
    const { files: pinned, revision } = JSON.parse(await readFile('model/manifest.json', 'utf8'));
    const files: Record<string, Buffer> = {};
    for (const { path } of pinned) files[path] = await readFile(join('model', path));
    const hub = await startHub({ files, revision, bytesPerSecond: 4_000_000 });
    onTestFinished(() => hub.close());
    const env = {
      ...SMALL,
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: hub.endpoint.url,
    };
    const first = await startDaemon(env);
    await eventually(() => expect(hub.cdn.bytesSent).toBeGreaterThan(6_000_000));
    expect(await first.stop()).toEqual({ code: 0, signal: null });
    const sent = hub.cdn.bytesSent;
    const size = Math.max(...pinned.map((file: { size: number }) => file.size));
    expect(sent).toBeLessThan(size);
    await servingDaemon(env);
    // Sockets hold some bytes that never reached the disk.
    expect(hub.cdn.bytesSent - sent).toBeLessThan(size - 3_000_000);
    expect(hub.cdn.requests.at(-1)?.headers.range).toMatch(/^bytes=\d+-/);
  });

  it('lets requests under way finish, and leaves no process behind', async () => {
    const volume = await temporaryFolder();
    const daemon = await servingDaemon({ MODEL_CACHE_DIR: volume });
    const workers = daemon.lines.flatMap(({ msg, pid }) =>
      msg === 'inference worker ready' ? [Number(pid)] : [],
    );
    expect(workers.length).toBeGreaterThan(0);
    const texts = Array.from({ length: 60 }, (_, index) => `request number ${index} about the weather`);
    const pending = texts.map((text) => daemon.post<Decision>('/classify', { text }));
    await Promise.any(pending);
    const ended = daemon.stop();
    const answers = await Promise.allSettled(pending);
    expect(await ended).toEqual({ code: 0, signal: null });
    // Each one either got its answer or was never accepted; none got half an answer or an error of ours.
    const answered = answers.filter((answer) => answer.status === 'fulfilled');
    expect(answered.length).toBeGreaterThan(0);
    for (const answer of answered) expect([200, 503]).toContain(answer.value.status);
    await eventually(() => expect(workers.filter(isAlive)).toEqual([]));
  });

  it('builds and starts a clean clone with npm start, which it reaches', { timeout: 120_000 }, async () => {
    const clone = await temporaryFolder();
    const needed = [
      'package.json',
      '.npmrc',
      'scripts',
      'src',
      'packages',
      'model',
      'routes',
      'tsconfig.json',
    ];
    const isBuilt = /(?:^|\/)dist(?:\/|$)/;
    for (const name of needed) {
      await cp(name, join(clone, name), { recursive: true, filter: (path) => !isBuilt.test(path) });
    }
    await symlink(resolve('node_modules'), join(clone, 'node_modules'));
    const daemon = await servingDaemon({}, { command: ['npm', '--silent', 'start'], cwd: clone });
    expect(await readdir(join(clone, 'dist'))).toContain('main.js');
    const pid = daemon.lines.find(({ msg }) => msg === 'listening')?.pid;
    await daemon.stop();
    await eventually(() => expect(isAlive(Number(pid))).toBe(false));
    expect(daemon.lines.at(-1)?.msg).toBe('stopped');
  });

  it('runs no script of a package when packages are installed', async () => {
    const { stdout } = await runFrom('.', ['config', 'get', 'ignore-scripts'], {}, 'npm');
    expect(stdout.trim()).toBe('true');
    const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as {
      scripts: Readonly<Record<string, string>>;
    };
    // npm skips these with it, so that what they would do is never done.
    const skipped = Object.keys(scripts).filter(
      (name) => scripts[name.replace(/^(?:pre|post)/, '')] && /^(?:pre|post)/.test(name),
    );
    expect(skipped).toEqual([]);
    expect(Object.keys(scripts)).not.toContain('prepack');
    expect(Object.keys(scripts)).not.toContain('prepare');
  });
});

describe('a daemon', () => {
  it('whose requests have little time does not take a worker at work for one that hangs', async () => {
    const daemon = await servingDaemon({
      REQUEST_TIMEOUT_MS: '60',
      INFERENCE_WORKERS: '1',
    });
    // The longest that is let in on this machine: its pass takes longer than a third of that time.
    let code: string | undefined = 'overloaded';
    for (let words = 300; code === 'overloaded' && words > 10; words *= 0.7) {
      code = (await daemon.post<{ code?: string }>('/classify', { text: 'some words '.repeat(words) })).body
        .code;
    }
    expect(code).not.toBe('overloaded');
    await eventually(async () =>
      expect((await daemon.post('/classify', { text: 'hello' })).status).toBe(200),
    );
    expect(daemon.lines.filter(({ msg }) => msg.startsWith('inference worker lost'))).toEqual([]);
  });

  it('whose stdout is closed goes on', async () => {
    const daemon = await servingDaemon();
    daemon.child.stdout?.destroy();
    for (let round = 0; round < 20; round += 1) {
      expect((await daemon.post('/classify', { text: 'hello' })).status).toBe(200);
    }
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  });

  it('logs what Node warns of, rather than let it write between the lines', async () => {
    const warn = `process.on('SIGUSR2', () => {
      process.emitWarning('careful');
      process.emitWarning('out of date', 'DeprecationWarning');
    })`;
    const daemon = await servingDaemon({
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(warn)}`,
    });
    daemon.child.kill('SIGUSR2');
    await eventually(() =>
      expect(daemon.lines.find(({ msg }) => msg === 'Node.js warning')).toMatchObject({
        level: 40,
        name: 'Warning',
        message: 'careful',
      }),
    );
    await daemon.stop();
    // A package's use of what is out of date is for those who ask for debug.
    expect(daemon.lines.filter(({ msg }) => msg === 'deprecated API used')).toEqual([]);
    expect(daemon.stderr()).toBe('');
  });

  it('takes up an edited route file, refuses a broken one, and goes on', async () => {
    const folder = await temporaryFolder();
    const routes = join(folder, 'routes.yaml');
    await copyFile('routes/support-desk.yaml', routes);
    const daemon = await servingDaemon({
      MODEL_CACHE_DIR: join(folder, 'volume'),
      ROUTES_FILE: routes,
    });
    const first = await daemon.post<Decision>('/classify', { text: 'bring me a pizza', threshold: 0 });
    await writeFile(
      routes,
      'routes:\n  - name: food\n    utterances: ["order a pizza", "I am hungry"]\n  - name: sleep\n    utterances: ["good night", "I am tired"]\n',
    );
    await eventually(async () => {
      const { body } = await daemon.post<Decision>('/classify', { text: 'bring me a pizza', threshold: 0 });
      expect(body.route).toBe('food');
      expect(body.routes_digest).not.toBe(first.body.routes_digest);
    });

    await writeFile(routes, 'routes:\n  - name: food\n    utterances: [\n');
    await eventually(async () => {
      const { status, body } = await daemon.get<{
        status: string;
        checks: { routes: { ok: boolean; detail: string } };
      }>('/health');
      expect(status).toBe(200);
      expect(body).toMatchObject({ status: 'degraded', checks: { routes: { ok: false } } });
      expect(body.checks.routes.detail).toMatch(/routes\.yaml:\d+:\d+/);
    });
    const still = await daemon.post<Decision>('/classify', { text: 'bring me a pizza', threshold: 0 });
    expect(still.body.route).toBe('food');
  });
});
