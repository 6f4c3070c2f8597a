import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RETIRED_COMMANDS, RETIRED_SETTINGS, SETTINGS } from '../../src/config/settings.js';
import { decodeHead, decodeHeads } from '../../src/scoring/head/head-cache.js';
import { servingDaemon } from '../support/daemon.js';
import { runFrom } from '../support/run.js';
import { temporaryFolder } from '../support/volume.js';

/** The settings and commands of version 0.1. */
const SETTINGS_0_1 = (
  'ADMIN_KEYS API_KEYS BODY_TIMEOUT_MS CLASSIFY_METHOD ' +
  'CORS_ORIGINS DRAIN_MS EMBEDDING_CACHE_BYTES HEADERS_TIMEOUT_MS ' +
  'HF_ENDPOINT HF_HUB_OFFLINE HF_TOKEN HOST ' +
  'INFERENCE_WORKERS KEEP_ALIVE_MS LOG_FORMAT LOG_LEVEL ' +
  'MAX_BATCH MAX_BODY_BYTES MAX_CONNECTIONS MAX_HEADERS ' +
  'MAX_HEADER_BYTES MAX_QUEUE MAX_QUEUE_MS MAX_TEXT_CHARS ' +
  'MODEL_BUNDLED_DIR MODEL_CACHE_DIR MODEL_MANIFEST MODEL_MIRRORS ' +
  'MODEL_SOURCES MODEL_VARIANT OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_PROTOCOL ' +
  'OTEL_SDK_DISABLED OTEL_SERVICE_NAME OTEL_TRACES_EXPORTER PORT ' +
  'RATE_LIMIT REQUEST_TIMEOUT_MS REQUIRE_MOUNT ROUTES_FILE ' +
  'SEND_TIMEOUT_MS SERVE_MODEL TRUST_PROXY VERIFY_CRON ' +
  'WITHOUT_VOLUME'
).split(' ');
const COMMANDS_0_1 = 'serve pull verify status prune pin doctor lint eval drill'.split(' ');

/** Written by version 0.1 with a route put over HTTP; without the blobs of the model, which are pinned. */
const FIXTURE = 'test/fixtures/volume-0.1';
const KEY = 'an-admin-key-of-the-upgrade-test';

it('a volume of version 0.1 boots, serves its route version and can be rolled back', async () => {
  const volume = join(await temporaryFolder(), 'volume');
  await cp(FIXTURE, volume, { recursive: true });
  const daemon = await servingDaemon({
    MODEL_CACHE_DIR: volume,
    ROUTES_FILE: join(FIXTURE, 'routes.yaml'),
    ADMIN_KEYS: KEY,
  });
  const routes = async () => {
    const response = await fetch(`${daemon.url}/routes`);
    const body = (await response.json()) as { routes: { name: string }[] };
    return { etag: response.headers.get('etag') ?? '', names: body.routes.map(({ name }) => name).sort() };
  };
  const before = await routes();
  expect(before.names).toEqual(['music', 'refunds', 'weather']);
  const response = await fetch(`${daemon.url}/routes/rollback`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'if-match': before.etag, 'content-type': 'application/json' },
    body: '{}',
  });
  expect(response.status).toBe(200);
  expect((await routes()).names).toEqual(['refunds', 'weather']);
  expect(await readdir(join(volume, 'quarantine'))).toEqual(await readdir(join(FIXTURE, 'quarantine')));
});

it('the file of heads of version 0.1 can be read; its heads have another version and are trained anew', async () => {
  const folder = join(FIXTURE, 'vectors');
  const [name] = (await readdir(folder)).filter((file) => file.endsWith('.heads.bin'));
  const decoded = decodeHeads(await readFile(join(folder, name ?? '')));
  if (!decoded.ok) throw new Error(decoded.fault);
  expect(decoded.table.size).toBe(2);
  for (const head of decoded.table.values()) {
    expect(() => decodeHead(head, { routes: 3, dimension: 384, none: false })).toThrow();
  }
});

it('each setting of version 0.1 is one still, or warns at start and names its successor', () => {
  const today = new Set(Object.values(SETTINGS).map(({ env }): string => env));
  const gone = SETTINGS_0_1.filter((name) => !today.has(name));
  expect(gone).toEqual(RETIRED_SETTINGS.map(({ name }) => name));
});

it.each(COMMANDS_0_1)('the command %s of version 0.1 is one still, or names its successor', async (name) => {
  const { code, stdout, stderr } = await runFrom('.', ['dist/main.js', name, '--help'], {});
  const retired = RETIRED_COMMANDS.find((command) => command.name === name);
  expect(retired ? stderr : stdout).toContain(retired?.successor ?? `Usage: ai-router ${name}`);
  expect(code).toBe(retired ? 2 : 0);
});
