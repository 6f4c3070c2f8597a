import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, lstat, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../support/eventually.js';
import { has } from '../support/tools.js';
import { temporaryFolder } from '../support/volume.js';

const NOBODY = 65534;
const ENTRYPOINT = resolve('deploy/entrypoint.sh');

function enter(env: Record<string, string>, script: string): string {
  const { stdout, stderr, status } = spawnSync(ENTRYPOINT, ['sh', '-c', script], {
    env: { PATH: process.env.PATH, ...env },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ended with ${status}: ${stderr}`);
  return stdout;
}

describe.runIf(has('root') && has('setpriv'))('the entry point of the image', () => {
  it('hands the volume to the user of the daemon, follows no link there, and drops every right', async () => {
    const folder = await temporaryFolder();
    const volume = join(folder, 'volume');
    const secret = join(folder, 'secret');
    await mkdir(join(volume, 'blobs'), { recursive: true, mode: 0o700 });
    await writeFile(secret, 'not of the volume');
    await symlink(secret, join(volume, 'blobs', 'link'));
    const said = enter(
      { RUN_AS: 'nobody', MODEL_CACHE_DIR: volume },
      'id -u; grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status',
    );
    expect(said.replaceAll(/[\t ]+/g, ' ').split('\n')).toEqual([
      String(NOBODY),
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000000',
      'NoNewPrivs: 1',
      '',
    ]);
    expect((await stat(volume)).uid).toBe(NOBODY);
    expect((await stat(join(volume, 'blobs'))).uid).toBe(NOBODY);
    expect((await lstat(join(volume, 'blobs', 'link'))).uid).toBe(NOBODY);
    expect((await stat(secret)).uid).toBe(0);
  });

  it('leaves alone what a folder leads to that is replaced by a link in the meantime', async () => {
    const folder = await temporaryFolder();
    const [volume, outside, bin] = ['volume', 'outside', 'bin'].map((name) => join(folder, name));
    for (const at of [join(volume ?? '', 'blobs'), outside ?? '', bin ?? ''])
      await mkdir(at, { recursive: true });
    await writeFile(join(volume ?? '', 'blobs', 'name'), '');
    await writeFile(join(outside ?? '', 'name'), '');
    // The other writer acts at the worst moment: when the names are known and before their owner changes.
    const chown = join(bin ?? '', 'chown');
    const real = spawnSync('sh', ['-c', 'command -v chown'], { encoding: 'utf8' }).stdout.trim();
    await writeFile(
      chown,
      `#!/bin/sh\nif [ ! -L "${volume}/blobs" ]; then mv "${volume}/blobs" "${volume}/aside"; ln -s "${outside}" "${volume}/blobs"; fi\nexec ${real} "$@"\n`,
    );
    await chmod(chown, 0o755);
    const env = { RUN_AS: 'nobody', MODEL_CACHE_DIR: volume ?? '', PATH: `${bin}:${process.env.PATH}` };
    enter(env, 'true');
    expect((await lstat(join(volume ?? '', 'blobs'))).isSymbolicLink()).toBe(true);
    expect((await stat(join(outside ?? '', 'name'))).uid).toBe(0);
  });

  const onRoot = spawnSync('stat', ['-c', '%m', tmpdir()], { encoding: 'utf8' }).stdout.trim() === '/';

  it.runIf(onRoot)('hands over no folder of the system that the cache folder links to', async () => {
    const folder = await temporaryFolder();
    const [system, link] = [join(folder, 'system'), join(folder, 'link')];
    await mkdir(system);
    await symlink(system, link);
    enter({ RUN_AS: 'nobody', MODEL_CACHE_DIR: link }, 'true');
    expect((await stat(system)).uid).toBe(0);
  });

  it('keeps root with RUN_AS=root', () => {
    expect(enter({ RUN_AS: 'root' }, 'id -u').trim()).toBe('0');
  });
});

/** Runs the entry point as process 1 of its own process namespace. */
function asProcess1(args: readonly string[], env: Record<string, string>): ChildProcess {
  const command = ['--pid', '--fork', '--kill-child', ENTRYPOINT, ...args];
  const child = spawn('unshare', command, {
    env: { PATH: process.env.PATH, RUN_AS: 'nobody', PORT: '0', HOST: '127.0.0.1', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** The process that is number 1 inside, once it catches SIGTERM. */
async function process1(outer: ChildProcess): Promise<number> {
  return eventually(async () => {
    const children = await readFile(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8');
    const pid = Number(children.trim());
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
    expect(BigInt(`0x${caught}`) & (1n << 14n)).not.toBe(0n);
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).toContain(ENTRYPOINT);
    return pid;
  });
}

const namespaces =
  has('root') && has('setpriv') && spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;

describe.runIf(namespaces)('the entry point as process 1', () => {
  it('ends in good order with a SIGTERM at any moment of the start', async () => {
    for (let delayMs = 0; delayMs <= 300; delayMs += 20) {
      const volume = await temporaryFolder();
      const outer = asProcess1(['serve'], { MODEL_CACHE_DIR: volume });
      const ended = once(outer, 'exit');
      const pid = await process1(outer);
      await new Promise((wait) => setTimeout(wait, delayMs));
      process.kill(pid, 'SIGTERM');
      expect([delayMs, ...(await ended)]).toEqual([delayMs, 0, null]);
    }
  }, 120_000);

  it('passes on stdin, the arguments and the exit status', async () => {
    const script =
      'process.stdin.pipe(process.stdout).on("error", () => {}); process.stdin.on("end", () => process.exitCode = 7)';
    const outer = asProcess1(['node', '-e', script], {});
    const ended = once(outer, 'exit');
    let said = '';
    outer.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    outer.stdin?.end('a text\n');
    expect(await ended).toEqual([7, null]);
    expect(said).toBe('a text\n');
  });
});
