import { spawnSync } from 'node:child_process';

/** Requirements of an injector besides Node.js. */
export type Tool =
  | 'root'
  | 'strace'
  | 'mounts'
  | 'setpriv'
  | 'prlimit'
  | 'python3'
  | 'iptables'
  | 'proc'
  /** Addresses of this machine besides 127.0.0.1. */
  | '127.0.0.x';

/** Ends with an error where an address cannot be listened at. */
const LISTENS = `require('net').createServer().listen(0, process.argv[1], () => process.exit())`;

const PROBES: Readonly<Record<Tool, () => boolean>> = {
  root: () => process.getuid?.() === 0,
  // Some machines have the program and forbid what it does.
  strace: () =>
    runs('strace', '-f', '--seccomp-bpf', '-e', 'trace=fsync', '-e', 'inject=fsync:error=EIO', 'true'),
  mounts: () =>
    runs('unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=1m none /mnt') && runs('nsenter', '--version'),
  setpriv: () => runs('setpriv', '--reuid', '65534', '--clear-groups', 'true'),
  prlimit: () => runs('prlimit', '--nofile'),
  iptables: () =>
    runs('unshare', '-n', 'iptables', '-A', 'OUTPUT', '-m', 'limit', '--limit', '1/hour', '-j', 'DROP'),
  python3: () => runs('python3', '-c', 'import mmap'),
  proc: () => process.platform === 'linux',
  '127.0.0.x': () =>
    ['127.0.0.2', '127.0.0.3'].every((address) => runs(process.execPath, '-e', LISTENS, address)),
};

const known = new Map<Tool, boolean>();

/** Whether this machine has the tool and allows what it does. */
export function has(tool: Tool): boolean {
  const found = known.get(tool) ?? PROBES[tool]();
  known.set(tool, found);
  return found;
}

function runs(command: string, ...args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
