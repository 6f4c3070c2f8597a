import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ProblemBody } from '../../src/api/schema.js';
import { readConfig } from '../../src/config/config.js';
import { networkOf, requireHost } from '../../src/http/auth.js';
import { run } from '../commands/program.js';
import { startDaemon, useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

const KEYS = {
  plain: 'a-plain-key-of-good-length',
  hashed: 'a-hashed-key-of-good-length',
  spare: 'one-more-key-of-good-length',
};
const ADMIN = 'an-admin-key-of-good-length';
const LIMIT = 9;

const daemon = useDaemon({
  API_KEYS: `${KEYS.plain}, sha256:${createHash('sha256').update(KEYS.hashed).digest('hex').toUpperCase()},${KEYS.spare}`,
  ADMIN_KEYS: ADMIN,
  RATE_LIMIT: `${LIMIT}/day`,
  TRUST_PROXY: '1',
  CORS_ORIGINS: 'https://app.example.org',
  LOG_LEVEL: 'debug',
});
let clients = 0;

/** An address of its own in this file: requests are counted by address. */
function newAddress(): string {
  clients += 1;
  return `198.51.100.${clients}`;
}

async function ask(
  path: string,
  {
    method = 'GET',
    key,
    address = newAddress(),
    headers = {},
  }: {
    method?: string;
    key?: string;
    address?: string;
    headers?: Record<string, string>;
  } = {},
) {
  const response = await fetch(daemon.url + path, {
    method,
    headers: { 'x-forwarded-for': address, ...(key && { authorization: `Bearer ${key}` }), ...headers },
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    problem: () => JSON.parse(text) as ProblemBody,
  };
}

describe('keys', () => {
  it('are wanted exactly where the contract says so', async () => {
    const { paths, security } = JSON.parse((await ask('/openapi.json')).text);
    expect(security).toEqual([{ bearer: [] }]);
    const wrong: string[] = [];
    let asked = 0;
    for (const [template, operations] of Object.entries<Record<string, { security?: unknown[] }>>(paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const { status } = await ask(template.replaceAll(/\{\w+\}/g, 'x'), { method: method.toUpperCase() });
        if ((status === 401) === (operation.security?.length === 0))
          wrong.push(`${method} ${template}: ${status}`);
        asked += 1;
      }
    }
    expect(wrong).toEqual([]);
    expect(asked).toBeGreaterThan(20);
    // Without a key, even the existence of a path stays hidden.
    expect((await ask('/nothing/here')).status).toBe(401);
    expect((await ask('/HEALTH/')).status).not.toBe(401);
  });

  it.each([
    ['a plain one', KEYS.plain],
    ['one that is configured by its digest', KEYS.hashed],
    ["an administrator's", ADMIN],
  ])('%s opens', async (_, key) => {
    expect((await ask('/metrics', { key })).status).toBe(200);
  });

  it.each<[string, { authorization?: string }]>([
    ['none', {}],
    ['a wrong one', { authorization: 'Bearer a-plain-key-of-good-lengtH' }],
    [
      'the digest of one',
      { authorization: `Bearer sha256:${createHash('sha256').update(KEYS.hashed).digest('hex')}` },
    ],
    ['another scheme', { authorization: `Basic ${KEYS.plain}` }],
  ])('%s does not open', async (_, headers) => {
    const { status, headers: answered, problem } = await ask('/metrics', { headers });
    expect(status).toBe(401);
    expect(answered.get('www-authenticate')).toBe('Bearer');
    const isKey = /^Bearer/.test(headers.authorization ?? '');
    const detail = expect.stringMatching(
      isKey ? /^this key is not known here: send one of API_KEYS/ : /^send one of/,
    );
    expect(problem()).toMatchObject({ code: 'unauthorized', detail });
  });

  it('of callers are none of administrators', async () => {
    const caller = await ask('/cache/verify', { method: 'POST', key: KEYS.spare });
    expect(caller.status).toBe(403);
    expect(caller.problem().detail).toContain('ADMIN_KEYS');
    expect((await ask('/cache/verify', { method: 'POST', key: ADMIN })).status).toBe(200);
  });
});

describe('files of keys', () => {
  it('are read again when a mounted secret is swapped, and a bad one changes nothing', async () => {
    const folder = await temporaryFolder();
    // As Kubernetes mounts a secret: the file leads through a link to a folder, which is replaced.
    const publish = async (version: string, api: string, admin: string): Promise<void> => {
      await mkdir(join(folder, version));
      await writeFile(join(folder, version, 'api'), api);
      await writeFile(join(folder, version, 'admin'), admin);
      await symlink(version, join(folder, `..${version}`));
      await rename(join(folder, `..${version}`), join(folder, '..data'));
    };
    await publish('1', `# of the team\n${KEYS.plain}\n`, ADMIN);
    for (const name of ['api', 'admin']) await symlink(`..data/${name}`, join(folder, name));
    const served = await startDaemon({
      MODEL_CACHE_DIR: join(folder, 'cache'),
      API_KEYS: KEYS.hashed,
      API_KEYS_FILE: join(folder, 'api'),
      ADMIN_KEYS_FILE: join(folder, 'admin'),
    });
    const status = async (key: string, path = '/metrics', method = 'GET') =>
      (await fetch(served.url + path, { method, headers: { authorization: `Bearer ${key}` } })).status;
    const said = (text: string) => served.lines.filter(({ msg }) => msg.includes(text)).length;
    expect([await status(KEYS.plain), await status(KEYS.spare), await status('')]).toEqual([200, 401, 401]);
    expect(await status(ADMIN, '/cache/verify', 'POST')).toBe(200);

    await publish('2', '\n', 'an-admin-key-of-good-length-2');
    await eventually(() => expect(said('key file refused')).toBe(1));
    expect([await status(KEYS.plain), await status('')]).toEqual([200, 401]);

    await publish('3', `${KEYS.spare}\r\n`, 'an-admin-key-of-good-length-3');
    await eventually(async () => expect(await status(KEYS.spare)).toBe(200));
    expect([await status(KEYS.plain), await status(KEYS.hashed)]).toEqual([401, 200]);
    expect(await status(ADMIN, '/cache/verify', 'POST')).toBe(401);
    expect(await status('an-admin-key-of-good-length-3', '/cache/verify', 'POST')).toBe(200);
    for (const key of [...Object.values(KEYS), ADMIN])
      expect(JSON.stringify(served.lines)).not.toContain(key);
  });

  it.each([
    ['no file', undefined, /API_KEYS_FILE: .*api is missing/],
    ['no key', '# none yet\n\n', /holds no key/],
    ['a short key', `${KEYS.plain}\nshort\n`, /at least 16 characters/],
  ])('end the start with %s', async (_, text, message) => {
    const path = join(await temporaryFolder(), 'api');
    if (text !== undefined) await writeFile(path, text);
    const { code, stderr } = await run(['serve'], { API_KEYS_FILE: path, PORT: '0' });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    const doctor = await run(['doctor'], { API_KEYS_FILE: path, PORT: '0' });
    expect(doctor.stdout).toMatch(new RegExp(`fail +keys +.*${message.source}`));
  });
});

describe('RATE_LIMIT', () => {
  it('counts by address where there is no key, and says how much is left', async () => {
    const address = newAddress();
    const first = await ask('/metrics', { address });
    expect(first.headers.get('ratelimit-policy')).toBe(`"default";q=${LIMIT};w=86400`);
    expect(first.headers.get('ratelimit')).toMatch(new RegExp(`^"default";r=${LIMIT - 1};t=\\d+$`));
    // What the client itself writes into the header stands further to the left, and does not count.
    for (let more = 1; more < LIMIT; more += 1) {
      expect((await ask('/metrics', { address: `203.0.113.${more}, ${address}` })).status).toBe(401);
    }
    const refused = await ask('/metrics', { address });
    expect(refused.status).toBe(429);
    expect(refused.headers.get('ratelimit')).toMatch(/^"default";r=0;t=\d+$/);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(80_000);
    expect(refused.problem()).toMatchObject({
      code: 'rate_limited',
      detail: expect.stringContaining('RATE_LIMIT'),
    });
    expect((await ask('/metrics')).status).toBe(401);
    // Nor does it keep monitors out.
    expect((await ask('/livez', { address })).status).toBe(200);
    expect((await ask('/livez', { address })).headers.get('ratelimit')).toBeNull();
  });

  it('counts by key, wherever it is used from', async () => {
    const seen = new Set<string | null>();
    for (let more = 0; more <= LIMIT; more += 1) {
      const { status, headers } = await ask('/metrics', { key: KEYS.hashed });
      seen.add(headers.get('ratelimit')?.split(';')[1] ?? null);
      if (status === 429) break;
      expect(status).toBe(200);
    }
    expect(seen).toContain('r=0');
    expect((await ask('/metrics', { key: KEYS.plain })).status).toBe(200);
  });

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:0:1:aaaa::1', '2001:db8:0:1::/64'],
    ['2001:db8:0:1::', '2001:db8:0:1::/64'],
    ['2001:0DB8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['203.0.113.7:4711', '203.0.113.7'],
    ['"203.0.113.7:4711"', '203.0.113.7'],
    ['[2001:db8::1]:4711', '2001:db8:0:0::/64'],
    ['"[2001:db8::1]:4711"', '2001:db8:0:0::/64'],
    ['[2001:db8::1]', '2001:db8:0:0::/64'],
    ['[::ffff:192.0.2.1]:80', '192.0.2.1'],
    ['unknown', 'unknown'],
  ])('takes %s for %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe('the Host of a request', () => {
  const defaults = readConfig({}).allowedHosts;

  it.each([
    '127.0.0.1:3000',
    '[::1]:3000',
    '10.1.2.3',
    'localhost:3000',
    'ai-router',
    'ai-router:3000',
    'printer.local',
    'ai-router.railway.internal',
    'ai-router.default.svc',
    'ai-router.default.svc.cluster.local:80',
    'ai-router-production.up.railway.app',
  ])('%s is answered without keys', (host) => {
    expect(() => requireHost(host, defaults)).not.toThrow();
  });

  it.each(['evil.com', 'evil.com:3000', '127.0.0.1.evil.com', 'localhost.evil.com', 'evilrailway.app'])(
    '%s is not',
    (host) => {
      expect(() => requireHost(host, defaults)).toThrow(/ALLOWED_HOSTS/);
      expect(() => requireHost(host, readConfig({ API_KEYS: KEYS.plain }).allowedHosts)).not.toThrow();
    },
  );

  it('may be set, and is that of the domain on Railway', () => {
    const { allowedHosts } = readConfig({ ALLOWED_HOSTS: 'Router.example.org, .example.net' });
    expect(() => requireHost('router.example.org:443', allowedHosts)).not.toThrow();
    expect(() => requireHost('a.example.net', allowedHosts)).not.toThrow();
    expect(() => requireHost('example.org', allowedHosts)).toThrow(/ALLOWED_HOSTS/);
    const railway = readConfig({ RAILWAY_PUBLIC_DOMAIN: 'router.example.org' }).allowedHosts;
    expect(() => requireHost('router.example.org', railway)).not.toThrow();
    expect(() => readConfig({ ALLOWED_HOSTS: 'https://router' })).toThrow(/ALLOWED_HOSTS/);
  });

  it('is checked everywhere but for health, which platforms probe under names of their own', async () => {
    const keyless = await startDaemon();
    const { hostname, port } = new URL(keyless.url);
    const status = async (path: string, host: string): Promise<number | undefined> => {
      const sent = httpRequest({ hostname, port, path, headers: { host } }).end();
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    expect(await status('/livez', 'healthcheck.railway.app')).toBe(200);
    expect(await status('/livez', 'evil.com')).toBe(200);
    // As a kubelet asks.
    expect(await status('/livez', '10.42.0.7:3000')).toBe(200);
    for (const path of ['/', '/docs', '/routes', '/metrics', '/cache/status', '/nowhere']) {
      expect(await status(path, 'evil.com'), path).toBe(403);
    }
    expect(await status('/', hostname)).toBe(200);
  });
});

describe('browsers', () => {
  const origin = 'https://app.example.org';

  it('may ask from a page of an origin in CORS_ORIGINS', async () => {
    const preflight = await ask('/classify', {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe(origin);
    expect(preflight.headers.get('access-control-allow-headers')).toBe('authorization,content-type');
    // A page can read why it was refused.
    const refused = await ask('/classify', { method: 'POST', headers: { origin } });
    expect(refused.status).toBe(401);
    expect(refused.headers.get('access-control-allow-origin')).toBe(origin);
    expect(refused.headers.get('access-control-expose-headers')).toContain('Retry-After');
  });

  it('may not from another one', async () => {
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' };
    const preflight = await ask('/classify', { method: 'OPTIONS', headers });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    expect(preflight.headers.get('vary')).toContain('Origin');
  });

  it('are told not to misuse answers', async () => {
    for (const path of ['/livez', '/metrics', '/docs']) {
      const { headers } = await ask(path);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toMatch(/^default-src 'none';.*frame-ancestors 'none'/);
      expect(headers.get('strict-transport-security')).toBeNull();
    }
    const secure = await ask('/livez', { headers: { 'x-forwarded-proto': 'https' } });
    expect(secure.headers.get('strict-transport-security')).toMatch(/^max-age=\d+/);
  });
});

describe('the commands that ask a daemon', () => {
  it('show it a key, and say where to put one', async () => {
    const without = await run(['status', daemon.url]);
    expect(without.code).toBe(1);
    expect(without.stderr).toContain('AI_ROUTER_KEY');
    const withKey = await run(['status', daemon.url], { AI_ROUTER_KEY: KEYS.spare });
    expect(withKey.stdout).toContain('next verification');
  });
});
