import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { AxeResults } from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterEach, beforeAll, expect, onTestFinished } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

export const atEnd = suiteEnd();

/** The key of an operator. */
export const KEY = 'an-admin-key-of-good-length';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A person in front of the page. */
export class Reader {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Waits until the first of these elements is in the page, and visible. */
  see(selector: string, hasText?: string | RegExp): Promise<void> {
    const found = this.page.locator(selector, hasText === undefined ? {} : { hasText });
    return found.first().waitFor();
  }

  async textOf(selector: string): Promise<string> {
    return (await this.page.locator(selector).textContent()) ?? '';
  }

  /** The id of what has the focus. */
  focused(): Promise<unknown> {
    return this.page.evaluate('document.activeElement.id');
  }

  /** Whether the window shows all of it. */
  inView(selector: string): Promise<unknown> {
    return this.page.evaluate(
      `(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.querySelector('${selector}').getBoundingClientRect())`,
    );
  }

  /** Pixels by which it is wider than the room it has. */
  overflow(selector: string): Promise<unknown> {
    return this.page.evaluate(
      `(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('${selector}'))`,
    );
  }

  /** Violations that axe finds on the page as it is now. */
  async violations(): Promise<string[]> {
    await this.page.evaluate(`globalThis.axe || (() => { ${AXE} })()`);
    const found = (await this.page.evaluate(
      'axe.run(document, { resultTypes: ["violations"] })',
    )) as AxeResults;
    return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
  }

  /** Becomes an operator. */
  async signIn(): Promise<void> {
    await this.page.click('#operator');
    await this.page.fill('#key-input', KEY);
    await this.page.keyboard.press('Enter');
    await this.see('#routes-new');
    // The page moves the focus last, and would take it from where a test puts it.
    await eventually(async () => expect(await this.focused()).toBe('role'));
  }
}

/** Another operator's change. */
export async function put(to: TestDaemon, name: string, utterances: string[]): Promise<void> {
  await change(to, `/routes/${name}`, { utterances });
}

export async function change(to: TestDaemon, path: string, body: object): Promise<void> {
  await eventually(async () => expect((await to.get('/readyz')).status).toBe(200));
  const { headers } = await to.get('/routes');
  const { status } = await fetch(to.url + path, {
    method: 'PUT',
    headers: {
      authorization: `Bearer ${KEY}`,
      'if-match': new Headers(headers).get('etag') ?? '',
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  });
  expect([200, 201]).toContain(status);
}

/** Routes of the daemons that {@link startOwn} starts. */
export const ROUTES = `routes:
  - name: food
    description: "<b>bold</b> <img src=x onerror=alert(1)>"
    utterances: [order a pizza, I am hungry, bring me a burger]
    score_threshold: 0.4
    metadata: { model: small }
  - name: sleep
    utterances: [good night, I am tired, wake me at seven]
`;

/** Starts a daemon with these routes, of which a test may change what it likes. */
export async function startOwn(more: Record<string, string> = {}): Promise<TestDaemon> {
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

const CANDIDATES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Chromium's program: `CHROMIUM`, or where it usually is; `undefined` when this machine has none. */
const EXECUTABLE = CANDIDATES.find((path) => path !== undefined && existsSync(path));

/** Whether tests can run in a browser. */
export const HAS_CHROMIUM = EXECUTABLE !== undefined;
if (!HAS_CHROMIUM) {
  process.stderr.write(
    '\n*** NO CHROMIUM: the page is NOT tested in a browser. `apt-get install chromium`, or set CHROMIUM. ***\n\n',
  );
}

/** Starts a browser for the tests of the block around, each of which fails where the browser complains. */
export function useBrowser() {
  let browser: Browser;
  /** Complaints of the browser, and requests that left the daemon. */
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await launchChromium(EXECUTABLE ?? '');
    atEnd(() => browser.close());
  });

  afterEach(() => {
    expect(complaints.splice(0)).toEqual([]);
  });

  /** Opens the page as on a first visit. */
  async function open(
    of: TestDaemon,
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
  async function openReady(of: TestDaemon, options?: BrowserContextOptions): Promise<Reader> {
    const reader = await open(of, options);
    await reader.see('#examples button');
    // The routes may be shown before the page has seen that the daemon is ready.
    await reader.see('#try-button:enabled');
    return reader;
  }

  return { open, openReady };
}

/** Starts Chromium without a window, and without anything of its own that wants the network. */
function launchChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      // Its sandbox does not work for root, which containers and build machines often are.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-sync',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
    ],
  });
}
