import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { type Hub, startHub } from '../support/hub-origin.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';
import { change, findChromium, KEY, launchChromium, put, Reader } from './reader.js';

const atEnd = suiteEnd();

const ROUTES = `routes:
  - name: food
    description: "<b>bold</b> <img src=x onerror=alert(1)>"
    utterances: [order a pizza, I am hungry, bring me a burger]
    score_threshold: 0.4
    metadata: { model: small }
  - name: sleep
    utterances: [good night, I am tired, wake me at seven]
`;
const WEIGHTS = 'onnx/model_quantized.onnx';
/** The download stands still here until a test lets it go on. */
const STALLED_AT = 8_000_000;

const chromium = findChromium();
if (!chromium) {
  process.stderr.write(
    '\n*** NO CHROMIUM: the page is NOT tested in a browser. `apt-get install chromium`, or set CHROMIUM. ***\n\n',
  );
}

/** Serves all tests that change nothing of it. */
let daemon: TestDaemon;

async function startOwn(more: Record<string, string> = {}): Promise<TestDaemon> {
  const folder = await temporaryFolder(atEnd);
  await writeFile(join(folder, 'routes.yaml'), ROUTES);
  return startDaemon(
    {
      MODEL_CACHE_DIR: join(folder, 'volume'),
      ROUTES_FILE: join(folder, 'routes.yaml'),
      ADMIN_KEYS: KEY,
      INFERENCE_WORKERS: '1',
      ...more,
    },
    { atEnd },
  );
}

/** A hub whose download stands still until it is let go. */
async function startStalledHub(): Promise<Hub> {
  const { revision, files } = JSON.parse(await readFile('model/manifest.json', 'utf8')) as {
    revision: string;
    files: { path: string }[];
  };
  const contents = files.map(async ({ path }) => [path, await readFile(join('model', path))] as const);
  const hub = await startHub({ revision, files: Object.fromEntries(await Promise.all(contents)) });
  atEnd(() => hub.close());
  hub.cdn.fault(hub.cdnPathOf(WEIGHTS), { kind: 'stall', afterBytes: STALLED_AT });
  return hub;
}

beforeAll(async () => {
  daemon = await startOwn();
});

describe('the page over HTTP', () => {
  it('is small, and asked for again it is not sent again', async () => {
    const html = await fetch(`${daemon.url}/`);
    expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(html.headers.get('content-security-policy')).toMatch(/^default-src 'none';.* script-src 'self';/);
    const text = await html.text();
    expect(text).not.toMatch(/<style|style=|<script>|onclick|https?:/);
    const again = await fetch(`${daemon.url}/`, {
      // Without the second one fetch asks every cache on the way to send all of it anew.
      headers: { 'if-none-match': html.headers.get('etag') ?? '', 'cache-control': 'max-age=0' },
    });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe('');
  });

  it.each(['/page/none.js', '/page/package.json', '/page/..%2Fmain.js', '/page/wire.d.ts', '/page/'])(
    '%s is not there',
    async (path) => {
      expect(await daemon.get(path)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    },
  );
});

describe.skipIf(!chromium)('the page in a browser', { timeout: 60_000 }, () => {
  let browser: Browser;
  /** Complaints of the browser, and requests that left the daemon. */
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await launchChromium(chromium ?? '');
    atEnd(() => browser.close());
  });

  afterEach(() => {
    expect(complaints.splice(0)).toEqual([]);
  });

  /** Opens the page as on a first visit. */
  async function open(
    of: TestDaemon = daemon,
    { path = '/', ...options }: { path?: string } & BrowserContextOptions = {},
  ): Promise<Reader> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    onTestFinished(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(50_000);
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      // A status that a test provokes is no fault of the page.
      const provoked = /Failed to load resource: the server responded with a status of (401|403|412|422|503)/;
      if (message.type() === 'error' && !provoked.test(message.text())) complaints.push(message.text());
    });
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(`${of.url}/`))
        complaints.push(`asked ${request.url()}`);
    });
    await page.goto(`${of.url}${path}`);
    return new Reader(page);
  }

  /** The same, when it answers. */
  async function openReady(of?: TestDaemon, options?: BrowserContextOptions): Promise<Reader> {
    const reader = await open(of, options);
    await reader.see('#examples button');
    // The routes may be shown before the page has seen that the daemon is ready.
    await reader.see('#try-button:enabled');
    return reader;
  }

  it('is there before the model is, with the download’s progress', async () => {
    const hub = await startStalledHub();
    const starting = await startOwn({ MODEL_SOURCES: 'hub', HF_ENDPOINT: hub.endpoint.url });
    const reader = await open(starting);
    const { page } = reader;
    await reader.see('#state[data-state="starting"]');
    await reader.see('#notice-title', 'Downloading the model');
    await reader.see('#notice-bar[aria-valuenow]:not([aria-valuenow="0"])');
    await reader.see('#files li', /onnx.*being fetched/s);
    await page.fill('#text', 'a pizza');
    await page.keyboard.press('Enter');
    await reader.see('#result', 'No answer');
    expect(await reader.violations()).toEqual([]);
    hub.cdn.disconnect();
    await reader.see('#state[data-state="ready"]');
    expect(await page.locator('#notice').isVisible()).toBe(false);
  });

  it('is small', async () => {
    let transferred = 0;
    const reader = await open();
    reader.page.on('response', async (response) => {
      if (/\/(page\/[^/]+)?$/.test(new URL(response.url()).pathname))
        transferred += (await response.request().sizes()).responseBodySize;
    });
    await reader.page.reload({ waitUntil: 'networkidle' });
    await reader.see('#examples button');
    expect(transferred).toBeLessThan(60_000);
  });

  it('shows what is served and the whole cache, and text as text', async () => {
    const reader = await openReady();
    await reader.see('#serving-facts', '2 routes, 6 utterances');
    await reader.see('#serving-facts', 'Xenova/all-MiniLM-L6-v2 · q8');
    expect(await reader.page.locator('#files .tag[data-tone="ok"]').count()).toBe(5);
    expect(await reader.textOf('#timeline')).toMatch(/Last verified .*Next in /s);
    await reader.see('#events li', /copied/);
    expect(await reader.textOf('#route-list')).toContain('<b>bold</b> <img src=x onerror=alert(1)>');
    expect(await reader.page.locator('#route-list img, #route-list b').count()).toBe(0);
  });

  it('shows the default threshold before anything was decided', async () => {
    const reader = await openReady();
    const { default_threshold: threshold } = (await daemon.get<{ default_threshold: number }>('/routes'))
      .body;
    expect(threshold).toBeGreaterThan(0);
    const shown = await reader.page.getAttribute('#threshold', 'placeholder');
    expect(shown).toMatch(/^0\.\d{2,4} \(default\)$/);
    expect(Number.parseFloat(shown ?? '')).toBeCloseTo(threshold, 4);
  });

  it('classifies with the keyboard alone, and shows candidates against their thresholds', async () => {
    const reader = await openReady();
    const { page } = reader;
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.keyboard.type('bring me a pizza please');
    await page.keyboard.press('Enter');
    await reader.see('.verdict[data-route="food"]');
    expect(await page.locator('.candidates > li').count()).toBe(2);
    expect(await page.locator('.candidates .track b').first().getAttribute('style')).toContain('--at: 0.4');
    expect(await reader.textOf('.nearest >> nth=0')).toContain('order a pizza');
    expect(await reader.textOf('#result')).toMatch(/tokens · .* in the daemon/);
    await page.keyboard.press('Enter');
    await reader.see('#result', /tokens · .* in the daemon · embedded before/);
    expect(await reader.violations()).toEqual([]);
  });

  it('says plainly that a text is sent nowhere, and what of it was cut', async () => {
    const reader = await openReady();
    await reader.page.fill('#threshold', '1');
    await reader.page.fill('#text', 'привет мир '.repeat(120));
    await reader.page.press('#text', 'Enter');
    await reader.see('.verdict[data-route=""]', 'Sent nowhere');
    expect(await reader.textOf('#result')).toContain('“привет мир');
    expect(await reader.textOf('#result')).toMatch(/No route reached its threshold.*needs 100 %/s);
    expect(await reader.textOf('#illegible')).toContain('The model can hardly read this text');
    expect(await reader.textOf('#cut')).toMatch(
      /Only the first 256 tokens were read: \d+ tokens at the end were cut/,
    );
  });

  it('never rounds a score up to a threshold that it misses', async () => {
    const reader = await openReady();
    const near = { route: 'food', score: 0.99896, similarity: 0.5, threshold: 0.999, nearest: [] };
    const usage = { tokens: 4, truncated_tokens: 0 };
    const json = { ...{ route: null, score: 0.99896, similarity: 0.5, candidates: [near], usage } };
    await reader.page.route('**/classify', (route) => route.fulfill({ json }), { times: 1 });
    await reader.page.fill('#text', 'almost a pizza');
    await reader.page.press('#text', 'Enter');
    await reader.see('#result', 'has 99.8 %, and needs 99.9 %');
    expect(await reader.textOf('.candidates .track b')).toBe('0.999');
  });

  it('asks for a key where classifying wants one, and goes on with it', async () => {
    const reader = await openReady();
    const { page } = reader;
    await page.fill('#text', 'what a long day, good night');
    const body = JSON.stringify({
      title: 'Unauthorized',
      status: 401,
      code: 'unauthorized',
      detail: 'send a key',
    });
    const refuse = { status: 401, contentType: 'application/problem+json', body };
    await page.route('**/classify', (route) => route.fulfill(refuse), { times: 1 });
    await page.press('#text', 'Enter');
    await reader.see('#key-title', 'This daemon requires a key');
    expect(await reader.violations()).toEqual([]);
    await page.fill('#key-input', 'a-key-for-callers');
    const asked = page.waitForRequest(/classify$/);
    await page.keyboard.press('Enter');
    expect(await (await asked).headerValue('authorization')).toBe('Bearer a-key-for-callers');
    await reader.see('.verdict[data-route="sleep"]');
    await page.click('#forget');
    expect(await page.evaluate('sessionStorage.length + localStorage.length')).toBe(0);
  });

  it('verifies with a key, and says that another one is refused', async () => {
    const reader = await openReady();
    const { page } = reader;
    await page.click('#verify');
    await page.fill('#key-input', 'not-the-right-key');
    await page.keyboard.press('Enter');
    await reader.see('#key-refused', 'refused');
    await page.fill('#key-input', KEY);
    await page.keyboard.press('Enter');
    await reader.see('#verify-result', /^Verified in .*: whole\.$/);
  });

  it('lints a route while it is typed, and never writes over another editor’s change unseen', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    const { page } = reader;
    await reader.signIn();
    await page.click('button[aria-label="Edit food"]');
    await reader.see('#lint-summary', /this route/);
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type('\ngood night');
    await reader.see(
      '#lint-findings li:first-child[data-tone="bad"]',
      /new error: “good night” is also .* of sleep/,
    );
    // Save stays in sight, and asks.
    expect(await reader.inView('#edit-save')).toBe(true);
    await page.click('#edit-save');
    await reader.see('#editor-said', /contradicts itself: 1 error/);
    expect(await reader.textOf('#edit-save')).toBe('Save anyway');
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type(' pizza delivery');
    expect(await reader.textOf('#edit-save')).toBe('Save');
    const metadata = await page.inputValue('#edit-metadata');
    await page.fill('#edit-metadata', '[1]');
    await page.fill('#edit-threshold', '7');
    await page.click('#edit-save');
    await reader.see('#edit-metadata[aria-invalid="true"]');
    await reader.see('#edit-metadata-fault', /must be a JSON object/);
    await reader.see('#edit-threshold-fault', /a number from 0 to 1/);
    expect(await reader.focused()).toBe('edit-threshold');
    await page.fill('#edit-metadata', metadata);
    await page.fill('#edit-threshold', '0.4');
    // Meanwhile another client adds a route.
    await put(own, 'drink', ['a glass of water', 'brew me a coffee', 'I am thirsty']);
    await page.click('#edit-save');
    await reader.see('#editor-said', /Another client changed the routes.*Your text is kept/);
    await page.click('#edit-save');
    await reader.see('#routes-said', 'food is saved and serves.');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toBe('Edit food');
    const { body } = await own.get<{ utterances: string[]; metadata: object }>('/routes/food');
    expect(body.utterances).toContain('good night pizza delivery');
    expect(body.metadata).toEqual({ model: 'small' });
    await reader.see('#serving-facts', '3 routes, 10 utterances');
  });

  it('shows the traffic', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    const { page } = reader;
    await reader.see('#traffic-totals', 'No text was decided yet');
    await page.fill('#threshold', '1');
    for (const [text, verdict] of [
      ['اكتب لي قصيدة '.repeat(120), ''],
      ['order a pizza', 'food'],
    ] as const) {
      if (verdict !== '') await page.fill('#threshold', '');
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
      await reader.see(`.verdict[data-route="${verdict}"]`);
    }
    await reader.see('#traffic-totals', /2 decisions since the start, 50 % sent nowhere, 1 cut/);
    await reader.see('#traffic-tiles polyline >> nth=1');
  });

  it('compares versions and goes back to one, with the keyboard alone', async () => {
    const own = await startOwn();
    await put(own, 'food', ['order a pizza', 'I am hungry', 'bring me a burger', 'a plate of pasta']);
    const reader = await openReady(own);
    const { page } = reader;
    await reader.signIn();
    await page.focus('#routes-history');
    await page.keyboard.press('Enter');
    await reader.see('#history-list summary');
    await page.focus('#history-list > li:first-child summary');
    await page.keyboard.press('Enter');
    await reader.see('.changes', /food: 1 utterance added: “a plate of pasta”.*; model "small" → none/);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width: colorScheme === 'light' ? 1280 : 390, height: 844 });
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('#history')).toBe(0);
    }
    await page.focus('button[aria-label="Go back to it: version 1"]');
    await page.keyboard.press('Enter');
    await reader.see('#history-said', 'Version 1 serves again.');
    // The list is read anew first.
    await eventually(async () => expect(await reader.focused()).toBe('history-undo'));
    // Also where the source is the file again.
    await reader.see('#history-list > li:first-child .tag', 'served');
    expect(await page.locator('.versions .tag', { hasText: /^served$/ }).count()).toBe(1);
    await page.keyboard.press('Escape');
    expect(await reader.focused()).toBe('routes-history');
    await reader.see('#serving-facts', '2 routes, 6 utterances');
  });

  it('shows texts of no route, and what changed of them', async () => {
    const own = await startOwn();
    await eventually(async () => expect((await own.get('/readyz')).status).toBe(200));
    const { routes } = (await own.get<{ routes: object[] }>('/routes')).body;
    await change(own, '/routes', { routes, none: ['is pizza healthy', 'how much does a bed cost'] });
    const reader = await openReady(own);
    await reader.see('#route-list', /no route/);
    await reader.page.locator('#route-list summary', { hasText: '2 texts to be sent nowhere' }).click();
    await reader.see('#route-list', /is pizza healthy/);
    await reader.signIn();
    await reader.page.focus('#routes-history');
    await reader.page.keyboard.press('Enter');
    await reader.see('#history-list summary');
    await reader.page.focus('#history-list > li:first-child summary');
    await reader.page.keyboard.press('Enter');
    await reader.see('.changes', /no route: 2 texts added: “is pizza healthy”, “how much does a bed cost”/);
  });

  it('marks a threshold out of range, and moves the focus there', async () => {
    const reader = await openReady();
    await reader.page.fill('#threshold', '7');
    await reader.page.press('#text', 'Enter');
    await reader.see('#threshold[aria-invalid="true"]');
    expect(await reader.textOf('#result')).toBe('');
    await reader.page.fill('#text', 'a pizza');
    await reader.page.press('#text', 'Enter');
    expect(await reader.focused()).toBe('threshold');
  });

  it('says that a key is wanted in place of empty cards, and what an operator lacks', async () => {
    const keyed = await startDaemon(
      {
        API_KEYS: 'a-key-for-callers-of-length',
        INFERENCE_WORKERS: '1',
      },
      { atEnd },
    );
    const reader = await open(keyed, { viewport: { width: 390, height: 844 } });
    const { page } = reader;
    await reader.see('#locked');
    expect(await page.locator('main section:visible h2').allTextContents()).toEqual([
      'This daemon requires a key',
    ]);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await reader.violations()).toEqual([]);
    }
    await page.focus('#unlock');
    await page.keyboard.press('Enter');
    await page.keyboard.type('a-key-for-callers-of-length');
    await page.keyboard.press('Enter');
    await reader.see('#serving-facts', '16 routes');
    expect(await reader.focused()).toBe('text');
    // Folded on a phone, whose width nothing exceeds.
    expect(await page.locator('#routes-fold').getAttribute('open')).toBeNull();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    await page.click('#routes-edit');
    await reader.see('#routes-said', 'This daemon has no ADMIN_KEYS');
  });

  it('takes an operator’s key at the banner, and asks for nothing that it may not have before', async () => {
    const keyed = await startOwn({ API_KEYS: 'a-key-for-callers-of-length' });
    const reader = await open(keyed);
    const { page } = reader;
    await reader.see('#locked');
    const asked: string[] = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await page.waitForRequest(/\/health$/);
    await page.waitForRequest(/\/health$/);
    expect([...new Set(asked)]).toEqual(['/health']);
    expect(await page.locator('footer a:visible').allTextContents()).toEqual(['HTTP reference', '/health']);
    await page.click('#unlock');
    await page.fill('#key-input', KEY);
    await page.keyboard.press('Enter');
    await reader.see('#role', 'Caller');
    await page.click('#routes-edit');
    await reader.see('#role', 'Operator');
    await page.click('button[aria-label="Edit food"]');
    await page.click('#edit-save');
    await reader.see('#routes-said', 'food is saved and serves.');
  });

  it('says of a daemon that stands still that it does not answer', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    own.child.kill('SIGSTOP');
    await reader.see('#state[data-state="unreachable"]');
    await reader.see('#verify:disabled');
    await reader.see('#operator:disabled');
    own.child.kill('SIGCONT');
    await reader.see('#state[data-state="ready"]');
    await reader.see('#verify:enabled');
  });

  it('says of a broken routes file that the routes from before go on, a line for each fault', async () => {
    const folder = await temporaryFolder(onTestFinished);
    const file = join(folder, 'routes.yaml');
    await writeFile(file, ROUTES);
    const own = await startOwn({ ROUTES_FILE: file });
    const reader = await openReady(own, { viewport: { width: 390, height: 900 } });
    await writeFile(file, `${ROUTES}  - nam: x\n    utterances: []\n`);
    await reader.see(
      '#notice',
      /those from before go on:\s+routes.yaml:9:5: unknown field "nam".*"name"\?\s+routes.yaml:10/,
    );
    await reader.signIn();
    // What belongs together stays in a line, also on a phone.
    const top = async (id: string): Promise<number> => (await reader.page.locator(id).boundingBox())?.y ?? 0;
    expect(Math.abs((await top('#forget')) - (await top('#state')))).toBeLessThan(24);
    await reader.page.evaluate('document.getElementById("routes-fold").open = true');
    await reader.page.click('button[aria-label="Edit food"]');
    await reader.see('#lint-summary', /this route/);
    expect(await reader.inView('#lint-summary')).toBe(true);
  });

  it.each(['light', 'dark'] as const)('is accessible and fits, %s', async (colorScheme) => {
    const reader = await openReady(daemon, { colorScheme });
    const { page } = reader;
    await reader.signIn();
    for (const width of [1280, 390, 360]) {
      await page.setViewportSize({ width, height: 900 });
      await page.evaluate('document.getElementById("routes-fold").open = true');
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('html')).toBe(0);
      await page.click('button[aria-label="Edit food"]');
      await reader.see('#lint-summary', /this route/);
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('#editor')).toBe(0);
      await page.click('#edit-cancel');
    }
  });

  it.each(['light', 'dark'] as const)('the reference begins with an example, %s', async (colorScheme) => {
    const reader = await open(daemon, { colorScheme, path: '/docs' });
    const { page } = reader;
    await reader.see('.opblock');
    await reader.see('.info pre, .description pre', /POST \/classify|curl/);
    // This daemon requires a key from operators alone.
    const locked = await page.locator('.opblock:has(.authorization__btn)').allTextContents();
    expect(locked.filter((text) => /^(GET|POST)\/(classify|embed|health|docs)/.test(text))).toEqual([]);
    expect(locked.length).toBeGreaterThan(0);
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('html')).toBe(0);
    }
    await page.click('header a');
    await reader.see('#try-title');
  });

  it('asks for nothing while it is hidden', async () => {
    const { page } = await openReady();
    await page.clock.install();
    await page.reload();
    await page.locator('#state[data-state="ready"]').waitFor();
    const hide = (hidden: boolean): Promise<unknown> =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
         document.dispatchEvent(new Event('visibilitychange'))`,
      );
    await page.waitForLoadState('networkidle');
    await hide(true);
    let asked = 0;
    page.on('request', () => {
      asked += 1;
    });
    await page.clock.runFor(60_000);
    expect(asked).toBe(0);
    const back = page.waitForRequest(/\/health$/);
    await hide(false);
    await back;
  });
});
