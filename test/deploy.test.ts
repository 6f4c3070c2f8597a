import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../src/config/config.js';

const railway = parse(await readFile('railway.toml', 'utf8')) as {
  build: Record<string, unknown>;
  deploy: Record<string, unknown>;
};
const dockerfile = await readFile('Dockerfile', 'utf8');

describe('railway.toml', () => {
  // https://docs.railway.com/config-as-code/reference
  it('uses keys that Railway knows, with the types that it accepts', () => {
    expect(Object.keys(railway)).toEqual(['build', 'deploy']);
    expect(railway.build).toEqual({ builder: 'DOCKERFILE', dockerfilePath: 'Dockerfile' });
    expect(railway.deploy).toEqual({
      requiredMountPath: '/data/models',
      healthcheckPath: '/health',
      healthcheckTimeout: expect.any(Number),
      drainingSeconds: expect.any(Number),
      restartPolicyType: 'ON_FAILURE',
      restartPolicyMaxRetries: expect.any(Number),
    });
    for (const value of Object.values(railway.deploy)) {
      if (typeof value === 'number') expect(Number.isInteger(value)).toBe(true);
    }
  });

  it('leaves the daemon time to drain', () => {
    expect(Number(railway.deploy.drainingSeconds) * 1_000).toBeGreaterThan(readConfig({}).drainMs);
  });
});

describe('the Dockerfile', () => {
  const final = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));

  it('starts node itself, so that SIGTERM reaches it', () => {
    expect(final).toMatch(/^CMD \["node", "dist\/main\.js", "serve"\]$/m);
  });

  it('drops the rights of root in an entry that becomes the daemon', async () => {
    expect(final).toMatch(/^ENTRYPOINT \["\/app\/docker-entrypoint\.sh"\]$/m);
    expect(await readFile('docker-entrypoint.sh', 'utf8')).toMatch(/^exec \$drop "\$@"$/m);
  });

  it('is built on images whose digest is pinned', () => {
    const named = new Map(
      [...dockerfile.matchAll(/^ARG (\w+)=(\S*)$/gm)].map(([, name = '', value = '']) => [name, value]),
    );
    const bases = [...dockerfile.matchAll(/^FROM (?:--\S+ )*(\S+)/gm)].map(([, image = '']) =>
      image.replace(/\$\{(\w+)\}/g, (_, name: string) => named.get(name) ?? ''),
    );
    expect(bases.length).toBeGreaterThan(2);
    for (const base of bases) expect(base).toMatch(/^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/);
  });

  it('puts the cache where Railway mounts its volume', () => {
    expect(final).toContain(`MODEL_CACHE_DIR=${railway.deploy.requiredMountPath}`);
  });

  it('has no VOLUME instruction, which Railway refuses', () => {
    expect(dockerfile).not.toMatch(/^VOLUME/m);
  });

  it('copies only what .dockerignore lets through', async () => {
    const allowed = (await readFile('.dockerignore', 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      ([, paths]) => paths?.split(' ') ?? [],
    );
    expect(copied.length).toBeGreaterThan(0);
    for (const path of copied) expect(allowed).toContain(path);
  });
});
