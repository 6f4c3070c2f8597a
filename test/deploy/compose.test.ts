import { access, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../src/config/config.js';
import { SETTINGS } from '../../src/config/settings.js';

interface Service {
  environment: Record<string, string>;
  healthcheck: { test: string[] };
  volumes: string[];
  depends_on?: Record<string, { condition: string }>;
  stop_grace_period: string;
}

const { services, volumes } = parse(await readFile('compose.yaml', 'utf8'), { merge: true }) as {
  services: Record<'ai-router' | 'twin', Service>;
  volumes: Record<string, null>;
};
const known = new Set(Object.values(SETTINGS).map(({ env }) => env));

describe('compose.yaml', () => {
  it.each(Object.entries(services))('starts %s with settings that the daemon takes', async (_, service) => {
    for (const name of Object.keys(service.environment)) expect(known).toContain(name);
    const config = readConfig(service.environment);
    const [volume = '', at] = service.volumes[0]?.split(':') ?? [];
    expect(at).toBe('/data/models');
    expect(volumes).toHaveProperty([volume]);
    const [kind, program, file = ''] = service.healthcheck.test;
    expect([kind, program]).toEqual(['CMD', 'node']);
    await access(file);
    expect(Number.parseInt(service.stop_grace_period, 10) * 1_000).toBeGreaterThan(config.drainMs);
  });

  it('lets the twin fetch from the first, once that is healthy', () => {
    expect(readConfig(services['ai-router'].environment).serveModel).toBe(true);
    const { sources, mirrors } = readConfig(services.twin.environment);
    expect([sources, mirrors.map(String)]).toEqual([['mirror'], ['http://ai-router:3000']]);
    expect(services.twin.depends_on).toEqual({ 'ai-router': { condition: 'service_healthy' } });
  });
});
