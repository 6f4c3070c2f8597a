import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CERTIFICATE } from '../support/certificate.js';
import { startDaemon } from '../support/daemon.js';
import { Origin } from '../support/origin.js';
import { startProxy } from '../support/proxy.js';
import { runFrom } from '../support/run.js';
import { smallModel } from '../support/small-model.js';
import { has } from '../support/tools.js';
import { temporaryFolder, writeTree } from '../support/volume.js';

const { manifest, files } = smallModel(20_000);
const KEY = 'a-key-of-good-length';

interface Pulled {
  readonly code: number | null;
  readonly text: string;
  readonly folder: string;
}

/** Runs `pull` into a new folder, after `command`, with the small model or, where `builtIn`, the built-in one. */
async function pull(
  env: Record<string, string>,
  { command = [], builtIn = false }: { command?: string[]; builtIn?: boolean } = {},
): Promise<Pulled> {
  const folder = await temporaryFolder();
  const manifestFile = join(folder, 'manifest.json');
  const { digest: _, ...pins } = manifest;
  await writeFile(manifestFile, JSON.stringify(pins));
  const args = [process.execPath, 'dist/main.js', 'pull', '--cache-dir', join(folder, 'cache')];
  const [program, ...rest] = [...command, ...args];
  const settings = { MODEL_SOURCES: 'mirror', ...(!builtIn && { MODEL_MANIFEST: manifestFile }), ...env };
  const { code, stdout, stderr } = await runFrom('.', rest, settings, program);
  return { code, text: stdout + stderr, folder };
}

async function origin(tls?: typeof CERTIFICATE): Promise<Origin> {
  const started = await Origin.start(tls ? { tls } : {});
  onTestFinished(() => started.close());
  for (const [path, bytes] of files) started.put(`/${path}`, bytes);
  return started;
}

describe('pull', () => {
  it('trusts an authority in NODE_EXTRA_CA_CERTS, and says so where it does not', async () => {
    const server = await origin(CERTIFICATE);
    const file = join(await temporaryFolder(), 'ca.pem');
    await writeFile(file, CERTIFICATE.cert);
    const refused = await pull({ MODEL_MIRRORS: server.url });
    expect(refused.code).toBe(1);
    expect(refused.text).toMatch(/certificate.*NODE_EXTRA_CA_CERTS/);
    expect(await pull({ MODEL_MIRRORS: server.url, NODE_EXTRA_CA_CERTS: file })).toMatchObject({ code: 0 });
  });

  it('goes through the proxy of its environment, and never shows its password', async () => {
    const [server, proxy] = [await origin(), await startProxy()];
    onTestFinished(() => proxy.close());
    const env = { MODEL_MIRRORS: server.url, http_proxy: proxy.url.replace('//', '//me:s3cret@') };
    const { code, text } = await pull(env);
    expect(code).toBe(0);
    expect(proxy.log.length).toBeGreaterThanOrEqual(files.size);
    expect(text).not.toContain('s3cret');
    proxy.refuse(407);
    const refused = await pull(env);
    expect(refused.code).toBe(1);
    expect(refused.text).not.toContain('s3cret');
  });

  it('opens another daemon that wants a key', async () => {
    const daemon = await startDaemon({
      API_KEYS: KEY,
      SERVE_MODEL: 'true',
    });
    // The files are served as soon as they are verified.
    const inUrl = daemon.url.replace('//', `//any:${KEY}@`);
    for (const env of [{ MODEL_MIRRORS: inUrl }, { MODEL_MIRRORS: daemon.url, MODEL_MIRROR_TOKEN: KEY }]) {
      const { code, text } = await pull(env, { builtIn: true });
      expect(code, text).toBe(0);
      expect(text).not.toContain(KEY);
    }
    const { code, text } = await pull({ MODEL_MIRRORS: daemon.url }, { builtIn: true });
    expect(code).toBe(1);
    expect(text).toContain('401');
  });
});

const SERVER = `
const [folder, command, ...args] = process.argv.slice(1);
const server = require('node:http').createServer((request, response) => {
  require('node:fs').readFile(folder + request.url, (error, bytes) =>
    error ? response.writeHead(404).end() : response.end(bytes));
});
server.listen(8080, '127.0.0.1', () => {
  require('node:child_process').spawn(command, args, { stdio: 'inherit' }).on('exit', (code) => process.exit(code));
});`;

/** A name with an IPv6 address that has no route, and an IPv4 one whose first SYN is lost: the next comes a second later. */
const SLOW_LINK = [
  'ip link set lo up',
  'printf "2001:db8::1 slow.test\\n127.0.0.1 slow.test\\n" > "$1/hosts"',
  'mount --bind "$1/hosts" /etc/hosts',
  'iptables -A OUTPUT -p tcp --dport 8080 --syn -m limit --limit 1/hour --limit-burst 1 -j DROP',
].join(' && ');

describe.skipIf(!has('root') || !has('mounts') || !has('iptables'))(
  'a slow link (needs root and iptables)',
  () => {
    it('on which the first packet is lost connects, beside an address without a route', async () => {
      const folder = await temporaryFolder();
      await writeTree(folder, files);
      const run = `${SLOW_LINK} && f="$1" && s="$2" && shift 2 && exec "${process.execPath}" -e "$s" "$f" "$@"`;
      const command = ['unshare', '-n', '-m', 'sh', '-c', run, 'sh', folder, SERVER];
      const { code, text } = await pull({ MODEL_MIRRORS: 'http://slow.test:8080' }, { command });
      expect(code, text).toBe(0);
    });
  },
);
