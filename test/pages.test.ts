import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { freePort } from './support/listen.js';
import { killGroup } from './support/processes.js';
import { temporaryFolder } from './support/volume.js';

/**
 * Runs the commands of every page as printed, block by block and in order, in a copy of the repository, in one shell with
 * aliases, as a reader's terminal has them. A block that ends with a daemon runs beside the later ones once it is ready;
 * another one on the same port ends it. JavaScript and TypeScript run in a process of their own.
 *
 * JSON right behind a block is what its last command answers, numbers to the last digit that is shown.
 *
 * Four things differ from a reader's machine: there are two workers; `npm ci` is done already; ports 3000 and 3001 and the folder /tmp are others,
 * free ones; and curl fails where the daemon refuses.
 */

/** A block that cannot run says why behind its language: ```` ```sh no-run: needs Docker ````. */
const NOT_RUN = /^no-run: (.{8,})$/;
/** All blocks that do not run, by their reasons. Change this on purpose. */
const LEFT_OUT = {
  'needs Docker': 2,
  'needs Prometheus': 1,
  'needs a cluster': 1,
  'needs a leader of yours': 1,
  'needs Python packages': 1,
  '`npm run contract` runs it': 28,
  '`npm run contract` runs it as config.yaml': 1,
  'needs a language model': 1,
  'needs a mirror of yours': 3,
  'needs a server of yours': 1,
  'needs the hub': 3,
  'the tests run these blocks': 1,
};

const RUN = new Set(['sh', 'bash', 'js', 'ts']);
const DATA = new Set(['', 'json', 'yaml']);
const DAEMON = /(^|\s)(npm start|(node dist\/main\.js|ai-router)( serve)?)\s*(#.*)?$/;
const TIMEOUT_MS = 240_000;

interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly reason: string | undefined;
  readonly code: string;
}

async function blocksOf(page: string): Promise<Block[]> {
  const text = await readFile(page, 'utf8');
  return [...text.matchAll(/^```(\w*)[ \t]*(.*)\n([\s\S]*?)^```$/gm)].map((match) => {
    const [, language = '', info = '', code = ''] = match;
    const line = text.slice(0, match.index).split('\n').length;
    return { page, line, language, reason: NOT_RUN.exec(info)?.[1], code };
  });
}

async function allPages(): Promise<string[]> {
  const pages = ['README.md', 'examples/README.md'];
  for (const folder of ['docs', 'docs/options']) {
    for (const name of await readdir(folder)) if (name.endsWith('.md')) pages.push(join(folder, name));
  }
  return pages;
}

const blocks = (await Promise.all((await allPages()).map(blocksOf))).flat();
const run = blocks.filter(({ language, reason }) => RUN.has(language) && reason === undefined);

/** Registers what is done at the end of one test; tests here run beside each other, so that each has its own. */
type AtEnd = (done: () => void | Promise<void>) => void;

/** Copies what git tracks, and what `npm ci` (and for later pages, the first one) has made. */
async function copyOfRepository(isBuilt: boolean, atEnd: AtEnd): Promise<string> {
  const copy = await temporaryFolder(atEnd);
  // Tracked, or staged by someone who works on it; what other tests leave for a moment is none of it.
  const { stdout } = await promisify(execFile)('git', ['ls-files', '-z']);
  const files = stdout.split('\0').filter((path) => path !== '' && !/^(test|bench|docs)\//.test(path));
  const folders = new Set(files.map((path) => dirname(path)));
  for (const folder of folders) await mkdir(join(copy, folder), { recursive: true });
  await Promise.all(files.map((path) => cp(path, join(copy, path))));
  await symlink(resolve('node_modules'), join(copy, 'node_modules'));
  const built = isBuilt ? ['dist', 'packages/client/dist'] : [];
  await Promise.all(built.map((path) => cp(path, join(copy, path), { recursive: true })));
  return copy;
}

/**
 * Reports every command that fails on descriptor 3, and goes on, as a terminal does. Ends with all that it started when
 * this process ends, which holds the other end of descriptor 5.
 */
const PRELUDE = `
{ read -r -u 5; kill -KILL 0; } &
shopt -s expand_aliases
set -E
trap 'status=$?; printf "%s: %s: ended with %s\\n" "$at" "$BASH_COMMAND" "$status" >&3' ERR
curl() { command curl --fail-with-body --max-time 60 "$@"; }
declare -A daemons
# Ends the daemon on this port before another one takes it.
vacate() { if [ -n "\${daemons[$1]-}" ]; then kill "\${daemons[$1]}"; wait "\${daemons[$1]}" || true; fi; }
began() {
  daemons[$1]=$2
  for _ in $(seq 600); do
    if grep -q '"msg":"ready"' "$3"; then return 0; fi
    if ! kill -0 "$2" 2>/dev/null; then cat "$3" >&2; return 1; fi
    sleep 0.2
  done
  tail -5 "$3" >&2
  return 1
}
`;

/** The page as one script. */
function scriptOf(page: readonly Block[], ports: readonly number[], temporary: string): string {
  const here = (code: string): string =>
    code
      .replace(/\b300([01])\b/g, (_, index: string) => String(ports[Number(index)]))
      .replaceAll('/tmp/', `${temporary}/`)
      .replace(/^npm ci( && |\n)/gm, '');
  const parts = page.map((block, index) => {
    const code = here(block.code);
    const at = `at=${block.page}:${block.line}\n`;
    if (block.language === 'js' || block.language === 'ts') {
      const file = `block-${index}.${block.language}`;
      return `${at}cat > ${file} <<'END_OF_BLOCK'\n${code}END_OF_BLOCK\nnode --import tsx ${file}\n`;
    }
    if (sampleOf(block)) return `${at}exec 4>&1 > ${answerFile(temporary, block)}\n${code}exec >&4\n`;
    if (!DAEMON.test(code.trim())) return `${at}${code}`;
    const port = /\bPORT=(\d+)/.exec(code)?.[1] ?? String(ports[0]);
    // Its last command replaces the shell around it, so that a signal reaches the daemon.
    const log = `${temporary}/daemon-${index}.log`;
    return `${at}vacate ${port}\n(\n${code}) > ${log} &\nbegan ${port} $! ${log}\n`;
  });
  return `${PRELUDE}${parts.join('')}`;
}

/** The JSON that stands right behind a block. */
function sampleOf({ page, line, code }: Block): Block | undefined {
  const behind = line + code.split('\n').length + 2;
  return blocks.find((each) => each.page === page && each.line === behind && each.language === 'json');
}

/** What of a printed answer is not so. Left out are the time since the start, and what stands behind an ellipsis. */
function differences(printed: unknown, answered: unknown, at: string): string[] {
  if (typeof printed === 'object' && printed !== null) {
    const fields = (answered ?? {}) as Record<string, unknown>;
    const unsaid = '…' in printed ? [] : Object.keys(fields).filter((key) => !(key in printed));
    return [
      ...unsaid.map((key) => `${at}.${key} is not printed`),
      ...Object.entries(printed)
        .filter(([key]) => key !== '…' && key !== 'uptime_s')
        .flatMap(([key, value]) => differences(value, fields[key], `${at}.${key}`)),
    ];
  }
  const [, number, decimals = ''] = /^#(-?\d+(?:\.(\d+))?)$/.exec(String(printed)) ?? [];
  const isSo =
    number === undefined
      ? String(answered).startsWith(String(printed).replace(/…$/, ''))
      : Math.abs(Number(answered) - Number(number)) <= 1.001 * 10 ** -decimals.length;
  return isSo ? [] : [`${at} is ${answered}, not ${printed}`];
}

/** Compares what a page prints with what came. */
async function checkSamples(page: readonly Block[], temporary: string): Promise<string[]> {
  const found = page.map(async (block) => {
    const sample = sampleOf(block);
    if (!sample) return [];
    // A number keeps the digits that it has in print.
    const printed = sample.code.replace(/([:[,]\s*)(-?\d+(?:\.\d+)?)(?=\s*[,}\]])/g, '$1"#$2"');
    const answer = (await readFile(answerFile(temporary, block), 'utf8')).trim().split('\n').at(-1) ?? '';
    return differences(JSON.parse(printed), JSON.parse(answer), `${sample.page}:${sample.line}`);
  });
  return (await Promise.all(found)).flat();
}

function answerFile(temporary: string, { line }: Block): string {
  return join(temporary, `answer-${line}.json`);
}

/** Runs a page; returns the commands that failed, and what was said on stderr. */
async function runPage(page: readonly Block[], atEnd: AtEnd): Promise<{ failed: string[]; stderr: string }> {
  const isFirst = page.some(({ code }) => code.startsWith('npm ci'));
  const copy = await copyOfRepository(!isFirst, atEnd);
  const temporary = await temporaryFolder(atEnd);
  const ports = [await freePort(), await freePort()];
  const script = join(temporary, 'page.sh');
  await writeFile(script, scriptOf(page, ports, temporary));
  const env = {
    ...{ PATH: process.env.PATH, HOME: temporary, PORT: String(ports[0]), HF_HUB_OFFLINE: '1' },
    INFERENCE_WORKERS: '2',
    // Where the machine has no /data/models.
    MODEL_CACHE_DIR: join(copy, 'volume'),
    AI_ROUTER_URL: `http://localhost:${ports[0]}`,
  };
  const child = spawn('bash', [script], {
    ...{ cwd: copy, env, detached: true },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ignore', 'pipe'],
  });
  const endGroup = (): void => killGroup(child);
  atEnd(endGroup);
  let stderr = '';
  let failed = '';
  child.stderr?.on('data', (text: Buffer) => {
    stderr += text;
  });
  child.stdio[3]?.on('data', (text: Buffer) => {
    failed += text;
  });
  const late = sleep(TIMEOUT_MS - 10_000, 'late', { ref: false });
  const end = await Promise.race([once(child, 'exit'), late]);
  endGroup();
  if (end === 'late') failed += 'did not end in time';
  const failures = failed.split('\n').filter((line) => line !== '');
  return { failed: failures.length > 0 ? failures : await checkSamples(page, temporary), stderr };
}

describe.concurrent('every command can be pasted', () => {
  it.for<string>([...new Set(run.map(({ page }) => page))])(
    '%s',
    { timeout: TIMEOUT_MS },
    async (page, { onTestFinished }) => {
      const { failed, stderr } = await runPage(
        run.filter((block) => block.page === page),
        onTestFinished,
      );
      expect(failed, stderr.slice(-3_000)).toEqual([]);
    },
  );
});

it('every block is run, is data, or says why it cannot run', () => {
  const strange = blocks.filter(
    ({ language, reason }) => !RUN.has(language) && !DATA.has(language) && reason === undefined,
  );
  expect(strange.map(({ page, line }) => `${page}:${line}`)).toEqual([]);
  const counts: Record<string, number> = {};
  for (const { reason } of blocks) if (reason) counts[reason] = (counts[reason] ?? 0) + 1;
  expect(counts).toEqual(LEFT_OUT);
  expect(run.length).toBeGreaterThan(30);
});
