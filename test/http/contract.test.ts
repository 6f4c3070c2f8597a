import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { type Contract, httpPage } from '../../scripts/pages.js';
import { classifyAnswers, classifySchemas } from '../../src/api/classify.js';
import { readConfig } from '../../src/config/config.js';
import { useDaemon } from '../support/daemon.js';

const daemon = useDaemon();

/** How far a number may be from the example's: other processors round otherwise. */
const TOLERANCE = 0.02;

/**
 * What matches an example of the contract: the same fields with the same values, but for what is another one each
 * time (moments, request ids) or on each machine (the digest of a trained head, small differences of numbers).
 */
function like(example: unknown, key = ''): unknown {
  if (Array.isArray(example)) return example.map((item) => like(item));
  if (typeof example === 'number') {
    return Number.isInteger(example) ? example : expect.closeTo(example, -Math.log10(2 * TOLERANCE));
  }
  if (typeof example !== 'object' || example === null) return example;
  // A head is trained on the spot.
  if (key === 'scorer')
    return { ...example, ...('digest' in example && { digest: expect.stringMatching(/^sha256:/) }) };
  // Log-odds go up and down a lot where probabilities hardly change.
  if (key === 'log_odds')
    return Object.fromEntries(Object.keys(example).map((name) => [name, expect.any(Number)]));
  return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, like(value, name)]));
}

describe('the contract', () => {
  it('is served as it is committed (npm run openapi writes it)', async () => {
    const response = await fetch(`${daemon.url}/openapi.json`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.text()).toBe(await readFile('openapi.json', 'utf8'));
  });

  it('is what the HTTP reference is made of (npm run openapi writes it)', async () => {
    const contract = JSON.parse(await readFile('openapi.json', 'utf8')) as Contract;
    expect(await readFile('docs/http.md', 'utf8')).toBe(httpPage(contract));
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

interface Media {
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

interface Documented {
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Media>> }>>;
}

describe('the examples of the contract', async () => {
  const document = JSON.parse(await readFile('openapi.json', 'utf8')) as {
    paths: Record<string, Record<string, Documented>>;
  };
  const pairs = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, { requestBody, responses }]) => {
      const requests = requestBody?.content['application/json']?.examples ?? {};
      const answers = responses['200']?.content?.['application/json']?.examples ?? {};
      return Object.keys(requests)
        .filter((name) => name in answers)
        .map((name) => ({
          name: `${method.toUpperCase()} ${path}: ${name}`,
          path,
          method,
          request: requests[name]?.value,
          answer: answers[name]?.value,
        }));
    }),
  );

  it.each(pairs)('$name', async ({ path, method, request, answer }) => {
    const response = await fetch(daemon.url + path, {
      method: method.toUpperCase(),
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    expect(await response.json()).toEqual(like(answer));
    expect(response.status).toBe(200);
  });

  it('are there for both ways to classify, and keep to the schemas', () => {
    expect(pairs.length).toBeGreaterThanOrEqual(6);
    const { single, batch } = classifySchemas(readConfig({}));
    for (const { path, request, answer } of pairs) {
      const [asked, answered] =
        path === '/classify' ? [single, classifyAnswers.single] : [batch, classifyAnswers.batch];
      if (path.startsWith('/classify')) {
        asked.parse(request);
        answered.parse(answer);
      }
    }
  });
});
