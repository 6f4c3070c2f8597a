import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();

let daemon: TestDaemon;

beforeAll(async () => {
  daemon = await startDaemon(
    { MODEL_CACHE_DIR: await temporaryFolder(atEnd), HF_HUB_OFFLINE: '1' },
    { atEnd },
  );
});

describe('the contract', () => {
  it('is served as it is committed (npm run openapi writes it)', async () => {
    const response = await fetch(`${daemon.url}/openapi.json`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.text()).toBe(await readFile('openapi.json', 'utf8'));
  });

  it('is shown without anything from elsewhere', async () => {
    const page = await fetch(`${daemon.url}/docs`);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const html = await page.text();
    const parts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address ?? '');
    expect(parts.length).toBeGreaterThan(3);
    for (const part of parts.filter((address) => !address.startsWith('data:'))) {
      const address = new URL(part, `${daemon.url}/docs`);
      expect(address.origin).toBe(daemon.url);
      const response = await fetch(address);
      expect(response.status, part).toBe(200);
      expect((await response.arrayBuffer()).byteLength).toBeGreaterThan(0);
    }
    expect((await fetch(`${daemon.url}/docs/package.json`)).status).toBe(404);
  });
});
