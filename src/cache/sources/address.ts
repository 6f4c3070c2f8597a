import { lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Where a machine's own network, and the cloud below it, answer requests from inside, with credentials, too. */
const METADATA = [
  '169.254.0.0/16',
  '100.100.100.200/32', // Alibaba
  '168.63.129.16/32', // Azure's wire server, a public address that is answered from inside
  '192.0.0.192/32', // Oracle, classic
  'fe80::/10',
  'fd00:ec2::/32', // AWS, credentials of containers included
  'fd20:ce::/48', // Google
  'fd00:c1::a9fe:a9fe/128', // Oracle
].map((range) => ipaddr.parseCIDR(range));

/** IPv4-compatible addresses, long deprecated; loopback is one of them. */
const COMPATIBLE = ipaddr.parseCIDR('::/96');
/** NAT64 in networks of an operator's own (RFC 8215): unlike the public prefix, nothing outside is behind it. */
const LOCAL_NAT64 = ipaddr.parseCIDR('64:ff9b:1::/48');

/** Names that lead to metadata services, for requests whose names a proxy resolves. */
const METADATA_NAMES =
  /^(metadata|metadata\.google\.internal|metadata\.goog|instance-data(\.ec2\.internal)?)\.?$/i;

/** Whether a redirect from the public internet has no business at `address`. What is no IP address counts as private. */
export function isPrivateAddress(address: string): boolean {
  const ip = parse(address);
  if (!ip) return true;
  if (ip.kind() === 'ipv6' && [COMPATIBLE, LOCAL_NAT64].some((range) => ip.match(range))) return true;
  const range: string = ip.range();
  // The public way to a public IPv4 address. Teredo and translated addresses (RFC 6145) belong to no server.
  const embedded = ['ipv4Mapped', 'rfc6052', '6to4'].includes(range) ? embeddedV4(ip) : undefined;
  return (embedded ?? ip).range() !== 'unicast';
}

/** Whether `address` is link-local or a cloud's metadata service, where no redirect may lead. */
export function isMetadataAddress(address: string): boolean {
  const ip = parse(address);
  if (!ip || ip.range() === ('teredo' as string)) return true;
  const ends = ip.kind() === 'ipv6' ? [ip, embeddedV4(ip)] : [ip];
  return ends.some((end) => METADATA.some((range) => end?.kind() === range[0].kind() && end.match(range)));
}

/** Whether a host name, or a literal address in its place, is that of a metadata service. */
export function isMetadataHost(hostname: string): boolean {
  return METADATA_NAMES.test(hostname) || (isLiteral(hostname) && isMetadataAddress(hostname));
}

/** Whether a URL's host is an address rather than a name. */
export function isLiteral(hostname: string): boolean {
  return isIP(hostname.replace(/^\[|\]$/g, '')) !== 0;
}

/** The error code of a connection to a private address. */
export const PRIVATE_ADDRESS = 'ERR_PRIVATE_ADDRESS';

export function privateAddressError(host: string): Error {
  return Object.assign(new Error(`${host} is a private address`), { code: PRIVATE_ADDRESS });
}

/**
 * A resolver that withholds forbidden addresses. The connection is made to the very addresses that it answers, so
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

type Address = ReturnType<typeof ipaddr.parse>;

function parse(address: string): Address | undefined {
  const bare = address.replace(/^\[|\]$/g, '').replace(/%.*/, '');
  return isIP(bare) ? ipaddr.parse(bare) : undefined;
}

/** The IPv4 address in an IPv6 one: after the prefix of 6to4, at the end of all other forms. */
function embeddedV4(ip: Address): Address {
  const bytes = ip.toByteArray();
  return ipaddr.fromByteArray(ip.range() === '6to4' ? bytes.slice(2, 6) : bytes.slice(12));
}
