import { availableParallelism, cpus, release, totalmem } from 'node:os';

/** Median and range of one figure over the rounds of a run. */
export interface Row {
  readonly name: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** Figures by name, in the order in which they first came. */
export class Samples {
  readonly #all = new Map<string, number[]>();

  note(name: string, value: number): void {
    const known = this.#all.get(name);
    if (known) known.push(value);
    else this.#all.set(name, [value]);
  }

  rows(): Row[] {
    return [...this.#all].map(([name, values]) => ({
      name,
      median: quantile(values, 0.5),
      min: Math.min(...values),
      max: Math.max(...values),
      rounds: values.length,
    }));
  }
}

/** The value below which a share `q` of the values lies; `NaN` of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** What a figure depends on. */
export function machine(): string {
  const memory = Math.round(totalmem() / 1e9);
  return `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${memory} GB, Linux ${release()}, Node ${process.version}`;
}

/** The figures as text in columns. */
export function table(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length)) + 2;
  const line = (name: string, cells: readonly string[]): string =>
    name.padEnd(width) + cells.map((cell) => cell.padStart(10)).join('');
  return [
    line('', ['median', 'min', 'max']),
    ...rows.map(({ name, median, min, max }) => line(name, [median, min, max].map(figure))),
  ].join('\n');
}

function figure(value: number): string {
  const size = Math.abs(value);
  if (size > 0 && size < 0.01) return value.toExponential(1);
  return value.toFixed(size < 100 ? 2 : 0);
}
