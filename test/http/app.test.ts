import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { afterAll, describe, expect, it } from 'vitest';
import { loadManifest } from '../../src/cache/manifest.js';
import { readConfig } from '../../src/config/config.js';
import { contractSettings } from '../../src/daemon/model.js';
import { EndpointTable } from '../../src/http/app.js';
import { allEndpoints } from '../../src/http/endpoints/index.js';
import type { Endpoint } from '../../src/http/openapi.js';
import { useDaemon } from '../support/daemon.js';

const config = readConfig({});
const endpoints = allEndpoints(contractSettings(config, await loadManifest(config.manifestFile), 'any'));
const examples: Readonly<Record<string, string>> = { org: 'Xenova', revision: 'main', path: 'config.json' };

function exampleOf({ path }: Pick<Endpoint<never>, 'path'>): string {
  return path.replace(/\{(\w+)\+?\}/g, (_, name: string) => examples[name] ?? 'x');
}

describe('EndpointTable', () => {
  const table = new EndpointTable(endpoints);

  it('finds every endpoint at its own path, and no path and method twice', () => {
    for (const endpoint of endpoints) {
      expect(table.match(endpoint.method, exampleOf(endpoint)).endpoint).toBe(endpoint);
    }
    expect(new Set(endpoints.map(({ method, path }) => `${method} ${path}`)).size).toBe(endpoints.length);
  });

  it('answers HEAD where GET is, and names the methods of a path', () => {
    expect(table.match('HEAD', '/health').endpoint?.path).toBe('/health');
    expect(table.match('HEAD', '/classify')).toMatchObject({ endpoint: undefined, allowed: ['POST'] });
    expect(table.match('PATCH', '/routes/x').allowed).toEqual(['DELETE', 'GET', 'HEAD', 'PUT']);
    expect(table.match('GET', '/nowhere').allowed).toEqual([]);
  });

  it('prefers a path that is written out to a parameter, for all methods', () => {
    expect(table.match('PUT', '/routes/lint')).toMatchObject({
      endpoint: undefined,
      allowed: ['GET', 'HEAD', 'POST'],
    });
    expect(table.match('GET', '/routes/%6cint')).toMatchObject({ params: { name: 'lint' } });
  });

  it('decodes parameters, and leaves broken escapes as they are', () => {
    expect(table.match('GET', '/routes/a%2Fb').params).toEqual({ name: 'a/b' });
    expect(table.match('GET', '/routes/100%').params).toEqual({ name: '100%' });
    expect(table.match('GET', '/v1/models/Xenova/all-MiniLM-L6-v2').params).toEqual({
      model: 'Xenova/all-MiniLM-L6-v2',
    });
  });

  it('knows the dialect of paths beside an endpoint', () => {
    expect(table.match('GET', '/v1/chat/completions').dialect).toBe('openai');
    expect(table.match('GET', '/embed').dialect).toBe('tei');
    expect(table.match('GET', '/nowhere').dialect).toBe('problem');
  });
});

const SPELLINGS: readonly ((path: string) => string)[] = [
  (path) => path,
  (path) => `${path}/`,
  (path) => `${path}//`,
  (path) => `/${path}`,
  (path) => `//${path}`,
  (path) => `/.${path}`,
  (path) => `/x/..${path}`,
  (path) => `${path}/.`,
  (path) => `${path}/..`,
  (path) => path.toUpperCase(),
  (path) => path.replace(/[a-z]/, (letter) => letter.toUpperCase()),
  (path) => path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  (path) => path.replace(/[a-z]/, (letter) => `%25${letter.charCodeAt(0).toString(16)}`),
  (path) => path.replaceAll('/', '%2f').replace('%2f', '/'),
  (path) => path.replaceAll('/', '\\').replace('\\', '/'),
  (path) => `${path}?x`,
  (path) => `${path}?/livez`,
  (path) => `${path}#x`,
  (path) => `${path};x`,
  (path) => `${path}%00`,
  (path) => `${path}%20`,
  (path) => `${path}.json`,
  (path) => `http://localhost${path}`,
  (path) => `HTTP://other.example${path}`,
  (path) => `https://localhost:1${path}`,
];

/** Every spelling of every spelling. */
function spellingsOf(path: string): string[] {
  const all = SPELLINGS.flatMap((first) => SPELLINGS.map((second) => second(first(path))));
  return [...new Set(all)].filter((_, index) => index % 2 === 0);
}

describe('access to every endpoint under hundreds of spellings', () => {
  const KEY = 'a-plain-key-of-good-length';
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  afterAll(() => agent.destroy());
  const daemon = useDaemon({
    API_KEYS: KEY,
    ADMIN_KEYS: 'an-admin-key-of-good-length',
    SERVE_MODEL: 'true',
  });

  async function status(method: string, path: string, key?: string): Promise<number> {
    const { hostname, port } = new URL(daemon.url);
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    const sent = request({ agent, hostname, port, method, path, headers }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'close');
    return response.statusCode ?? 0;
  }

  it.each(endpoints.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const))(
    '%s',
    async (_, endpoint) => {
      const wrong: string[] = [];
      const spelled = spellingsOf(exampleOf(endpoint));
      expect(spelled.length).toBeGreaterThan(100);
      await Promise.all(
        spelled.map(async (path) => {
          const open = await status(endpoint.method, path);
          if (open === 401 || open === 400) {
            // What is open answers strangers; another spelling of it may be nothing at all.
            if (endpoint.access !== 'open' || open === 400) return;
            const known = await status(endpoint.method, path, KEY);
            if (known !== 404 && known !== 405) wrong.push(`${path}: ${open}, with a key ${known}`);
          } else if (endpoint.access !== 'open') wrong.push(`${path}: ${open} without a key`);
        }),
      );
      expect(wrong).toEqual([]);
    },
    30_000,
  );
});
