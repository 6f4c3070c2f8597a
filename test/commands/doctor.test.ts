import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { checkNode } from '../../src/commands/doctor/checks.js';
import { isContainer } from '../../src/commands/doctor/volume.js';
import { listen, serveHttp } from '../support/listen.js';
import { Origin } from '../support/origin.js';
import { suiteEnd } from '../support/suite.js';
import { smallModel, temporaryFolder, writeTree } from '../support/volume.js';
import { manifestFile, runJson } from './program.js';

const atEnd = suiteEnd();

interface Finding {
  check: string;
  status: 'ok' | 'warn' | 'fail';
  detail: string;
  fix?: string;
}
interface DoctorReport {
  ok: boolean;
  failed: number;
  findings: Finding[];
}

const { manifest, files } = smallModel();
let wholesome: Record<string, string> = {};

/** Settings of a machine on which nothing is wrong, and what is changed of them. */
async function doctor(
  changed: Record<string, string> = {},
  flags: readonly string[] = [],
): Promise<{ code: number | null; find: (check: string) => Finding; report: DoctorReport }> {
  const env = { ...wholesome, MODEL_CACHE_DIR: await temporaryFolder(), ...changed };
  const { code, report } = await runJson<DoctorReport>(['doctor', ...flags], env);
  const find = (check: string): Finding => {
    const finding = report.findings.find((candidate) => candidate.check === check);
    if (!finding) throw new Error(`no finding "${check}" in ${JSON.stringify(report)}`);
    return finding;
  };
  return { code, find, report };
}

async function mirror(bytesPerSecond?: number): Promise<Origin> {
  const origin = await Origin.start(bytesPerSecond === undefined ? {} : { bytesPerSecond });
  onTestFinished(() => origin.close());
  for (const [path, bytes] of files) origin.put(`/${path}`, bytes);
  return origin;
}

beforeAll(async () => {
  const bundled = await temporaryFolder(atEnd);
  await writeTree(bundled, files);
  wholesome = {
    PORT: '0',
    MODEL_SOURCES: 'bundled',
    MODEL_BUNDLED_DIR: bundled,
    MODEL_MANIFEST: join(bundled, 'manifest.json'),
  };
  const { digest: _, ...body } = manifest;
  await writeFile(join(bundled, 'manifest.json'), JSON.stringify(body));
});

describe('doctor', () => {
  it('finds no fault where there is none', async () => {
    const { code, report } = await doctor();
    expect(report.findings.filter(({ status }) => status === 'fail')).toEqual([]);
    expect(code).toBe(0);
    for (const { status, fix } of report.findings) expect(fix === undefined).toBe(status === 'ok');
  });

  it('counts warnings as faults when it is strict', async () => {
    expect((await doctor({ DRAIN_MS: '0' }, ['--strict'])).code).toBe(1);
    expect((await doctor({ DRAIN_MS: '0' })).code).toBe(0);
  });

  it.each<[string, string, Finding['status'], RegExp, Record<string, string>]>([
    ['a drain of 0 s', 'drain', 'fail', /waits 0 s/, { RAILWAY_DEPLOYMENT_DRAINING_SECONDS: '0' }],
    [
      'a drain that is too short',
      'drain',
      'fail',
      /5 s .*10000 ms/,
      { RAILWAY_DEPLOYMENT_DRAINING_SECONDS: '5' },
    ],
    [
      'a delay that does not fit beside the drain',
      'drain',
      'fail',
      /12 s .*SHUTDOWN_DELAY_MS and DRAIN_MS need 15000 ms/,
      { RAILWAY_DEPLOYMENT_DRAINING_SECONDS: '12', SHUTDOWN_DELAY_MS: '5000' },
    ],
    [
      'a delay and a drain beyond the grace of a pod',
      'drain',
      'warn',
      /30000 ms, and a pod gets 30 s/,
      { KUBERNETES_SERVICE_HOST: '10.0.0.1', SHUTDOWN_DELAY_MS: '20000' },
    ],
    ['no delay in a pod', 'drain', 'warn', /refused/, { KUBERNETES_SERVICE_HOST: '10.0.0.1' }],
    ['no drain of our own', 'drain', 'warn', /DRAIN_MS is 0/, { DRAIN_MS: '0' }],
    ['a start through npm', 'starter', 'warn', /npm run start/, { npm_lifecycle_event: 'start' }],
    [
      'a cache beside the volume',
      'mount',
      'fail',
      /\/data\/models, but/,
      { RAILWAY_VOLUME_MOUNT_PATH: '/data/models' },
    ],
    [
      'a cache on no mount',
      'mount',
      'warn',
      /not on a mount|in memory/,
      { container: 'docker', ADMIN_KEYS: 'an-admin-key-of-good-length' },
    ],
    ['a mount that is missing', 'mount', 'fail', /REQUIRE_MOUNT/, { REQUIRE_MOUNT: 'true' }],
    ['a cache that cannot be made', 'writable', 'fail', /cannot write/, { MODEL_CACHE_DIR: '/proc/none' }],
    ['IPv4 only', 'ipv6', 'warn', /IPv4 only/, { HOST: '127.0.0.1' }],
    ['IPv4 only on Railway', 'ipv6', 'fail', /IPv4 only/, { HOST: '0.0.0.0', RAILWAY_SERVICE_ID: 'x' }],
    ['a HOST of a compiler', 'port', 'fail', /HOST="x86_64-linux-gnu" is no/, { HOST: 'x86_64-linux-gnu' }],
    ['routes that are missing', 'routes', 'fail', /does not exist/, { ROUTES_FILE: '/nowhere/routes.yaml' }],
    ['no source', 'sources', 'fail', /no source/, { MODEL_SOURCES: 'hub' }],
    ['a fallback that is away', 'fallback', 'warn', /127\.0\.0\.1:1/, { FALLBACK_URL: 'http://127.0.0.1:1' }],
    [
      'a key of the fallback that cannot be read',
      'fallback',
      'warn',
      /FALLBACK_API_KEY_FILE: .*ENOENT/,
      { FALLBACK_URL: 'http://127.0.0.1:1', FALLBACK_API_KEY_FILE: '/no/key' },
    ],
  ])('finds %s', async (_, check, status, detail, env) => {
    const { find, code } = await doctor(env);
    expect(find(check)).toMatchObject({ status, detail: expect.stringMatching(detail) });
    expect(find(check).fix).toBeTruthy();
    expect(code).toBe(status === 'fail' ? 1 : 0);
  });

  it('warns of nothing in a clean clone, be it in a container, without a way to the hub', async () => {
    const hub = { MODEL_SOURCES: 'bundled,hub', HF_HUB_OFFLINE: '0', HF_ENDPOINT: 'http://127.0.0.1:9' };
    const { find, report } = await doctor({ ...hub, container: 'docker' });
    expect(report.findings.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(find('source hub').detail).toContain('not needed while bundled delivers');
    expect(find('drain').detail).toContain('docker stop --time 12');
  });

  it('finds nothing wrong with a start through npx', async () => {
    const { find } = await doctor({ npm_lifecycle_event: 'npx' });
    expect(find('starter')).toMatchObject({ status: 'ok', detail: expect.stringContaining('npx') });
  });

  it('finds a port that another program holds', async () => {
    const other = createServer();
    const port = await listen(other);
    onTestFinished(() => void other.close());
    const { find } = await doctor({ PORT: String(port), HOST: '127.0.0.1' });
    expect(find('port')).toMatchObject({ status: 'fail', detail: expect.stringContaining('in use') });
  });

  it('takes a port held by a running daemon for right', async () => {
    const url = await serveHttp((_, response) => response.end('{"status":"alive"}'), onTestFinished);
    const { find } = await doctor({ PORT: new URL(url).port, HOST: '127.0.0.1' });
    expect(find('port')).toMatchObject({
      status: 'ok',
      detail: expect.stringContaining('running ai-router'),
    });
  });

  it('finds routes that do not parse', async () => {
    const file = join(await temporaryFolder(), 'routes.yaml');
    await writeFile(file, 'routes:\n  - name: [\n');
    expect((await doctor({ ROUTES_FILE: file })).find('routes')).toMatchObject({
      status: 'fail',
      detail: expect.stringMatching(/routes\.yaml:\d+:\d+/),
    });
  });

  it('finds a source that delivers other bytes, and one that is not there', async () => {
    const origin = await mirror();
    origin.put('/tokenizer_config.json', Buffer.alloc(100, 1));
    const only = await doctor({ MODEL_SOURCES: 'mirror', MODEL_MIRRORS: origin.url });
    const name = `source mirror 127.0.0.1:${origin.port}`;
    expect(only.find(name)).toMatchObject({ status: 'fail', detail: expect.stringMatching(/sha256 is/) });
    expect(only.find(name).fix).toMatch(/upload the files again/);

    const mirrors = `${origin.url},http://127.0.0.1:9`;
    const beside = await doctor({ MODEL_SOURCES: 'bundled,mirror', MODEL_MIRRORS: mirrors });
    expect(beside.code).toBe(0);
    expect(beside.find(name).status).toBe('warn');
    expect(beside.find('source mirror 127.0.0.1:9')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('finds a download that does not fit into the health check', async () => {
    const origin = await mirror(100_000);
    const env = { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: origin.url };
    expect((await doctor(env, ['--health-budget', '1'])).find('health budget')).toMatchObject({
      status: 'fail',
      detail: expect.stringMatching(/305\.1 kB takes 3\.\d s at the \d+\.\d kB\/s of mirror/),
    });
    expect((await doctor(env, ['--health-budget', '300'])).find('health budget').status).toBe('ok');
  });

  it('gives up a source that is silent', async () => {
    const origin = await mirror();
    origin.faultAlways('*', { kind: 'stall' });
    const { find } = await doctor({ MODEL_SOURCES: 'bundled,mirror', MODEL_MIRRORS: origin.url }, [
      '--timeout',
      '1',
    ]);
    expect(find(`source mirror 127.0.0.1:${origin.port}`)).toMatchObject({
      status: 'warn',
      detail: expect.stringMatching(/not delivered within 1\.0 s/),
    });
  });

  it('names a manifest that is broken as a matter of settings', async () => {
    const { code } = await runJson(['doctor'], {
      MODEL_MANIFEST: await manifestFile({ ...manifest, files: [] }),
    });
    expect(code).toBe(2);
  });
});

describe('checks', () => {
  it.each([
    ['18.20.4', 'fail'],
    ['20.18.1', 'fail'],
    ['20.19.0', 'ok'],
    ['24.1.0', 'ok'],
  ])('Node %s: %s', (version, status) => {
    expect(checkNode(version).status).toBe(status);
  });
});

it('a container is distinguished from a machine of one’s own', () => {
  expect(isContainer({}, ['/no/mark'])).toBe(false);
  expect(isContainer({}, ['/'])).toBe(true);
  expect(isContainer({ container: 'podman' }, [])).toBe(true);
  expect(isContainer({ RAILWAY_SERVICE_ID: 'x' }, [])).toBe(true);
  expect(isContainer({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }, [])).toBe(true);
});
