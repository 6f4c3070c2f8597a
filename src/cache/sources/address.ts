import { lookup as systemLookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/**
 * Addresses that no redirect from the public internet has business with: private, loopback, link-local (cloud
 * metadata lives there), carrier-grade NAT, unique-local, multicast, unspecified, and the reserved rest.
 */
const PRIVATE_V4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
];
const PRIVATE_V6: readonly (readonly [string, number])[] = [
  ['::', 96], // unspecified, loopback, and the long deprecated IPv4-compatible form
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];
/** Where a machine's own network, and the cloud below it, answer whoever asks from inside: with credentials, too. */
const METADATA_V4: readonly (readonly [string, number])[] = [
  ['169.254.0.0', 16],
  ['100.100.100.200', 32], // Alibaba
  ['168.63.129.16', 32], // Azure's wire server, a public address that is answered from inside
];
const METADATA_V6: readonly (readonly [string, number])[] = [
  ['fe80::', 10],
  ['fd00:ec2::', 32], // AWS, containers' credentials included
  ['fd20:ce::', 48], // Google
  ['fd00:c1::a9fe:a9fe', 128], // Oracle
];
/** Prefixes whose addresses carry an IPv4 address, and at which of the eight groups it begins. */
const EMBEDDED: readonly (readonly [string, number, number])[] = [
  ['::ffff:0:0', 96, 6], // mapped
  ['64:ff9b::', 96, 6], // NAT64
  ['2002::', 16, 1], // 6to4
];

interface Blocked {
  readonly v4: BlockList;
  readonly v6: BlockList;
}

const PRIVATE: Blocked = { v4: listOf(PRIVATE_V4, 'ipv4'), v6: listOf(PRIVATE_V6, 'ipv6') };
const METADATA: Blocked = { v4: listOf(METADATA_V4, 'ipv4'), v6: listOf(METADATA_V6, 'ipv6') };
const embedding = EMBEDDED.map(([prefix, bits, group]) => ({
  list: listOf([[prefix, bits]], 'ipv6'),
  group,
}));

/** Whether `address` (a literal IPv4 or IPv6 address) is not a public one. What is no address counts as private. */
export function isPrivateAddress(address: string): boolean {
  return isAmong(PRIVATE, address);
}

/** Whether `address` is link-local or a cloud's metadata service, where no redirect leads, whoever sends it. */
export function isMetadataAddress(address: string): boolean {
  return isAmong(METADATA, address);
}

function isAmong({ v4, v6 }: Blocked, address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '').replace(/%.*/, '');
  const family = isIP(bare);
  if (family === 4) return v4.check(bare, 'ipv4');
  if (family !== 6) return true;
  const carrier = embedding.find(({ list }) => list.check(bare, 'ipv6'));
  if (carrier) return v4.check(embeddedV4(bare, carrier.group), 'ipv4');
  return v6.check(bare, 'ipv6');
}

/** The error code of a connection that {@link guardedLookup} or a caller of it refused. */
export const PRIVATE_ADDRESS = 'ERR_PRIVATE_ADDRESS';

/** The error of a connection to a private address that nobody may make. */
export function privateAddressError(host: string): Error {
  return Object.assign(new Error(`${host} is a private address`), { code: PRIVATE_ADDRESS });
}

/**
 * A resolver that withholds private addresses. The connection is made to the very addresses that it answers, so
 * a name that changes its mind between a check and the connection gains nothing.
 */
export function guardedLookup(
  isForbidden: (address: string) => boolean,
  lookup: LookupFunction = systemLookup,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, answer, family) => {
      if (error) return callback(error, answer, family);
      if (typeof answer === 'string') {
        return isForbidden(answer)
          ? callback(privateAddressError(hostname), '')
          : callback(null, answer, family);
      }
      const allowed = answer.filter(({ address }) => !isForbidden(address));
      return allowed.length === 0 ? callback(privateAddressError(hostname), []) : callback(null, allowed);
    });
  };
}

function listOf(ranges: readonly (readonly [string, number])[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of ranges) list.addSubnet(network, prefix, family);
  return list;
}

/** The IPv4 address that begins at group `at` of a valid IPv6 address. */
function embeddedV4(address: string, at: number): string {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = dotted ? `${dotted[1]}${pair(dotted[2], dotted[3])}:${pair(dotted[4], dotted[5])}` : address;
  const [head = '', tail] = hex.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return groups
    .slice(at, at + 2)
    .map((group) => Number.parseInt(group, 16))
    .map((value) => `${value >> 8}.${value & 255}`)
    .join('.');
}

function pair(high: string | undefined, low: string | undefined): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}
