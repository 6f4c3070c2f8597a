/** What a month costs: list prices in US dollars per GB, and how often a service starts. Change them to yours. */
export const PRICES = {
  volumeGbMonth: 0.15,
  cdnEgressGb: 0.085,
  cdnStorageGbMonth: 0.023,
  startsPerMonth: 100,
};
/** What was measured of one option. Times are milliseconds. */
export interface Row {
  readonly firstMs: number;
  readonly nextMs: number;
  readonly loadMs: number;
  readonly firstRequestMs: number;
  readonly medianMs: number;
  readonly deployBytes: number;
  readonly restartBytes: number;
  readonly crashBytes: number | undefined;
  readonly diskBytes: number;
  readonly offline: boolean;
  readonly cost: number;
}

/** The measurements as a Markdown table. */
export function tableOf(name: string, rows: ReadonlyMap<string, Row>): string {
  const lines: (readonly [string, (row: Row) => string])[] = [
    ['first start to ready', ({ firstMs }) => seconds(firstMs)],
    ['next start to ready', ({ nextMs }) => seconds(nextMs)],
    ['model load', ({ loadMs }) => `${loadMs} ms`],
    ['first request', ({ firstRequestMs }) => `${firstRequestMs.toFixed(1)} ms`],
    ['a classification (median)', ({ medianMs }) => `${medianMs.toFixed(1)} ms`],
    ['network, deploy', ({ deployBytes }) => `${megabytes(deployBytes)} MB`],
    ['network, restart', ({ restartBytes }) => `${megabytes(restartBytes)} MB`],
    [
      'network, crash at half + start',
      ({ crashBytes }) => (crashBytes === undefined ? '0.0 MB' : `${megabytes(crashBytes)} MB`),
    ],
    ['on disk (baked: in the image)', ({ diskBytes }) => `${megabytes(diskBytes)} MB`],
    ['next start works offline', ({ offline }) => (offline ? 'yes' : 'no')],
    [`cost a month, ${PRICES.startsPerMonth} starts`, ({ cost }) => `$${cost.toFixed(3)}`],
  ];
  return [
    `\n### ${name}\n`,
    `| | ${[...rows.keys()].join(' | ')} |`,
    `|---|${[...rows].map(() => '---:|').join('')}`,
    ...lines.map(([label, cell]) => `| ${label} | ${[...rows.values()].map(cell).join(' | ')} |`),
    `\nPrices assumed: volume $${PRICES.volumeGbMonth}/GB-month, CDN $${PRICES.cdnEgressGb}/GB out and ` +
      `$${PRICES.cdnStorageGbMonth}/GB-month; image storage and the public hub are free.`,
  ].join('\n');
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}

/** Bytes as megabytes. */
export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

/** Writes a line. */
export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
