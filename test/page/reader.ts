import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import type { TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';

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

const CANDIDATES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Chromium's program: `CHROMIUM`, or where it usually is; `undefined` when this machine has none. */
export function findChromium(): string | undefined {
  return CANDIDATES.find((path) => path !== undefined && existsSync(path));
}

/** Starts Chromium without a window, and without anything of its own that wants the network. */
export function launchChromium(executablePath: string): Promise<Browser> {
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
