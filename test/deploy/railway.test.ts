import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.js';

const railway = parse(await readFile('railway.toml', 'utf8')) as {
  build: Record<string, unknown>;
  deploy: Record<string, unknown>;
};

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
