import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Health } from '../../src/api/health.js';
import type { RouteSetBody } from '../../src/api/routes.js';
import type { ProblemBody } from '../../src/api/schema.js';
import { servingDaemon, startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

const KEY = 'an-admin-key-of-good-length';
const OFFLINE = { HF_HUB_OFFLINE: '1', INFERENCE_WORKERS: '1', CLASSIFY_METHOD: 'nearest' };

/** A file of two routes, which is embedded at once. */
async function fewRoutes(): Promise<string> {
  const path = join(await temporaryFolder(), 'routes.yaml');
  await writeFile(
    path,
    '- { name: food, utterances: [I am hungry] }\n- { name: sleep, utterances: [good night] }\n',
  );
  return path;
}

/** Adds a route as an administrator does. */
async function put(daemon: TestDaemon): Promise<Response> {
  const etag = (await daemon.get('/routes')).headers.get('etag') ?? '';
  return fetch(`${daemon.url}/routes/pizza`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${KEY}`, 'if-match': etag, 'content-type': 'application/json' },
    body: JSON.stringify({ utterances: ['a pizza please', 'order a pizza'] }),
  });
}

const routesOf = async (daemon: TestDaemon) => (await daemon.get<Health>('/health')).body.checks.routes;

it('a follower takes up what is changed at its leader, refuses changes, and outlives the leader', async () => {
  const leader = await startDaemon({
    ...OFFLINE,
    ROUTES_FILE: await fewRoutes(),
    ADMIN_KEYS: KEY,
  });
  const url = `${leader.url}/routes`;
  const env = {
    ...OFFLINE,
    MODEL_CACHE_DIR: await temporaryFolder(),
    ADMIN_KEYS: KEY,
    ROUTES_URL: url,
    ROUTES_POLL_MS: '200',
  };
  const follower = await startDaemon(env);
  await Promise.all([leader.ready(), follower.ready()]);

  expect((await put(leader)).status).toBe(201);
  const { digest } = (await leader.get<RouteSetBody>('/routes')).body;
  await eventually(async () => expect(await routesOf(follower)).toMatchObject({ ok: true, digest }));
  expect((await routesOf(follower)).age_s).toBeLessThan(60);
  expect((await follower.get<RouteSetBody>('/routes')).body.source).toMatchObject({ file: { name: url } });
  const metricsOf = async ({ url }: TestDaemon): Promise<string> => (await fetch(`${url}/metrics`)).text();
  expect(await metricsOf(follower)).toContain(`ai_router_routes_info{digest="${digest}"} 1\n`);
  expect(await metricsOf(follower)).toMatch(/^ai_router_routes_age_seconds [\d.]+$/m);
  expect(await metricsOf(leader)).not.toMatch(/^ai_router_routes_age_seconds/m);

  const refused = await put(follower);
  expect(refused.status).toBe(403);
  expect(((await refused.json()) as ProblemBody).detail).toContain(url);

  await leader.stop();
  await eventually(async () => expect(await routesOf(follower)).toMatchObject({ ok: false, digest }));
  expect((await follower.get('/readyz')).status).toBe(200);
  await follower.stop();
  const again = await servingDaemon(env);
  expect(await routesOf(again)).toMatchObject({ code: 'source_unreachable', digest });
}, 120_000);

it('SHUTDOWN_DELAY_MS keeps the port open while /readyz says 503', async () => {
  const daemon = await servingDaemon({
    ...OFFLINE,
    ROUTES_FILE: await fewRoutes(),
    SHUTDOWN_DELAY_MS: '3000',
  });
  const { port } = new URL(daemon.url);
  const signalled = performance.now();
  const ended = daemon.stop();
  await eventually(async () => expect((await daemon.get('/readyz')).status).toBe(503));
  let answered = 0;
  while (performance.now() - signalled < 2_000) {
    const { status } = await daemon.post('/classify', { text: `how is the weather ${answered}` });
    expect(status).toBe(200);
    answered += 1;
    await sleep(10);
  }
  expect(answered).toBeGreaterThan(3);
  expect(await ended).toEqual({ code: 0, signal: null });
  const refused = await new Promise((resolve) => {
    connect({ port: Number(port), host: '127.0.0.1' })
      .once('error', resolve)
      .once('connect', resolve);
  });
  expect(refused).toMatchObject({ code: 'ECONNREFUSED' });
});
