import { constants, lstatSync, promises, readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, sep } from 'node:path';

/** Functions that change a disk in ways that {@link observeDisk} does not report: code on the volume must not use them. */
const UNKNOWN = ['appendFile', 'copyFile', 'cp', 'rmdir', 'symlink', 'truncate', 'unlink', 'writeFile'];

/**
 * Reports every change that this process makes at or below `root` through `node:fs/promises`, before it is made.
 * The program under observation has no part in this: the functions of Node.js are wrapped, for its bundle as well.
 * @param {string} root
 * @param {(change: import('./disk-changes.mjs').DiskChange) => void} observer
 * @returns {() => void} ends the observation
 */
export function observeDisk(root, observer) {
  const original = { ...promises };
  const isInside = (path) => path === root || String(path).startsWith(root + sep);
  const named = (path) => String(path).replace(/^\/proc\/self\/fd\/\d+/, (folder) => readlinkSync(folder));
  const report = ({ path, ...change }) => {
    const real = named(path);
    if (isInside(real)) observer({ ...change, path: real });
  };
  const watched = (handle, path, isDirectory) => {
    const { write, truncate, sync } = handle;
    handle.write = (bytes, from = 0, length = bytes.length - from, offset = 0) => {
      report({ op: 'write', path, offset, bytes: bytes.subarray(from, from + length) });
      return write.call(handle, bytes, from, length, offset);
    };
    handle.truncate = (size = 0) => {
      report({ op: 'truncate', path, size });
      return truncate.call(handle, size);
    };
    handle.sync = () => {
      report({ op: isDirectory ? 'sync-directory' : 'sync', path });
      return sync.call(handle);
    };
    return handle;
  };
  promises.open = async (path, flags = 'r', mode = undefined) => {
    const creates = typeof flags === 'number' ? (flags & constants.O_CREAT) !== 0 : /[wa]/.test(flags);
    if (creates && !lstatSync(path, { throwIfNoEntry: false })) report({ op: 'create', path });
    const handle = await original.open(path, flags, mode);
    return isInside(path) ? watched(handle, path, (await handle.stat()).isDirectory()) : handle;
  };
  promises.mkdir = (path, options) => {
    // Existing folders are no change; of missing parents each is one.
    const missing = [];
    for (let folder = path; !lstatSync(folder, { throwIfNoEntry: false }); folder = dirname(folder)) {
      missing.unshift(folder);
    }
    for (const folder of missing) report({ op: 'mkdir', path: folder });
    return original.mkdir(path, options);
  };
  promises.rm = (path, options) => {
    report({ op: 'remove', path });
    return original.rm(path, options);
  };
  promises.chmod = (path, mode) => {
    report({ op: 'chmod', path });
    return original.chmod(path, mode);
  };
  for (const op of ['rename', 'link']) {
    promises[op] = (path, to) => {
      report({ op, path, to });
      return original[op](path, to);
    };
  }
  for (const name of UNKNOWN) {
    promises[name] = (path, ...rest) => {
      if (isInside(path)) throw new Error(`${name} on the volume: observeDisk has to learn it`);
      return original[name](path, ...rest);
    };
  }
  syncBuiltinESMExports();
  return () => {
    Object.assign(promises, original);
    syncBuiltinESMExports();
  };
}
