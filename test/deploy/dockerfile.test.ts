import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { servingDaemon } from '../support/daemon.js';
import { DockerfileReplay, expand, filesBelow, parseDockerfile, type Stage } from '../support/dockerfile.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const dockerfile = await readFile('Dockerfile', 'utf8');
const instructions = parseDockerfile(dockerfile);

describe('the Dockerfile', () => {
  it('is built on images whose digest is pinned', () => {
    const named = Object.fromEntries(
      instructions
        .filter(({ keyword }) => keyword === 'ARG')
        .map(({ text }) => text.split('=') as [string, string]),
    );
    const bases = instructions
      .filter(({ keyword }) => keyword === 'FROM')
      .map(({ text }) => expand(text, named));
    expect(bases.length).toBeGreaterThan(2);
    for (const base of bases) expect(base).toMatch(/^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}( AS \w+)?$/);
  });

  it('has no VOLUME instruction, which Railway refuses', () => {
    expect(instructions.map(({ keyword }) => keyword)).not.toContain('VOLUME');
  });
});

/** The image is for Linux: its binaries for other systems are removed. */
describe.runIf(process.platform === 'linux')('the image, built stage by stage', () => {
  const atEnd = suiteEnd();
  let replay: DockerfileReplay;
  let plain: Stage;

  beforeAll(async () => {
    replay = new DockerfileReplay(resolve('.'), await temporaryFolder(atEnd));
    plain = await replay.build();
  }, 300_000);

  /** Starts what the image starts, with its files and nothing else, and classifies. */
  async function serves({ root, workdir, env, entrypoint, cmd }: Stage, cacheDir: string): Promise<void> {
    const [program = '', ...args] = entrypoint;
    const daemon = await servingDaemon(
      {
        ...env,
        MODEL_CACHE_DIR: cacheDir,
        RUN_AS: 'root',
        PATH: `${join(root, 'usr/local/bin')}:${process.env.PATH}`,
      },
      { cwd: join(root, workdir), command: [join(root, program), ...args, ...cmd] },
    );
    const { status, body } = await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' });
    expect([status, body.route]).toEqual([200, 'math']);
    const health = spawnSync(process.execPath, ['deploy/healthcheck.js'], {
      cwd: join(root, workdir),
      env: { HOST: '127.0.0.1', PORT: new URL(daemon.url).port },
    });
    expect(health.status).toBe(0);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  }

  it('boots and classifies with the files of its last stage', async () => {
    await serves(plain, await temporaryFolder());
  });

  it('has `ai-router` on PATH', async () => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    const { stdout } = spawnSync(join(plain.root, 'usr/local/bin/ai-router'), ['--version'], {
      encoding: 'utf8',
    });
    expect(stdout.trim()).toBe(version);
  });

  it('has the folder where Railway mounts its volume, and no setting that overrides another mount', async () => {
    const { deploy } = parse(await readFile(join(plain.root, 'app/railway.toml'), 'utf8'));
    expect(deploy).toMatchObject({ requiredMountPath: '/data/models' });
    expect(await filesBelow(join(plain.root, 'data/models'))).toEqual([]);
    expect(plain.env.MODEL_CACHE_DIR).toBe('');
  });

  it('takes the variant of the model as a build argument', async () => {
    expect(plain.env.MODEL_VARIANT).toBe('q8');
    const [args] = instructions.filter(
      ({ keyword, text }) => keyword === 'ARG' && text.startsWith('MODEL_VARIANT'),
    );
    expect(args?.text).toBe('MODEL_VARIANT=q8');
  });

  it('installs only the packages that the program imports', async () => {
    const { external } = JSON.parse(await readFile(join(plain.root, 'app/dist/packages.json'), 'utf8'));
    const lock = JSON.parse(
      await readFile(join(plain.root, 'app/node_modules/.package-lock.json'), 'utf8'),
    ) as {
      packages: Record<string, { dependencies?: Record<string, string> }>;
    };
    const needed = new Set<string>(external);
    for (const name of needed) {
      for (const other of Object.keys(lock.packages[`node_modules/${name}`]?.dependencies ?? {}))
        needed.add(other);
    }
    const installed = Object.keys(lock.packages).map((path) => path.replace('node_modules/', ''));
    expect(installed.sort()).toEqual([...needed].sort());
    const native = (await filesBelow(join(plain.root, 'app/node_modules'))).filter(({ path }) =>
      path.endsWith('.node'),
    );
    expect(native.map(({ path }) => path)).toEqual([expect.stringContaining(`linux/${process.arch}/`)]);
  });

  it('holds the model once if the cache is baked into it, and boots from there', async () => {
    const baked = await replay.build({ BAKE: '1' });
    expect(baked.env).toMatchObject({ MODEL_CACHE_DIR: '/opt/models', REQUIRE_MOUNT: 'false' });
    const models = (await filesBelow(baked.root)).filter(({ size }) => size > 20_000_000);
    expect(models.map(({ path, links }) => [path.split('/').slice(0, 2).join('/'), links]).sort()).toEqual([
      ['app/model', 2],
      ['opt/models', 2],
    ]);
    await serves(baked, join(baked.root, 'opt/models'));
  }, 120_000);
});
