import { Counter, Gauge, type Registry } from 'prom-client';

// Metrics whose values other parts keep. They are read when they are rendered, and cost nothing otherwise.

export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number | boolean];

/** A gauge; absent while there is no value. */
export function gauge(
  registers: Registry[],
  name: string,
  help: string,
  read: () => number | boolean | undefined,
): void {
  new Gauge({
    name: `ai_router_${name}`,
    help,
    registers,
    collect() {
      const value = read();
      if (value === undefined) this.remove();
      else this.set(Number(value));
    },
  });
}

/** A gauge with labels: it has exactly the values that are read. */
export function gauges(
  registers: Registry[],
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => Iterable<Sample>,
): void {
  new Gauge({
    name: `ai_router_${name}`,
    help,
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const [labels, value] of read()) this.set(labels, Number(value));
    },
  });
}

/** Counters named `<prefix>_<key>_total`. */
export function counters<Key extends string>(
  registers: Registry[],
  prefix: string,
  helps: Readonly<Record<Key, string>>,
  read: (key: Key) => number,
): void {
  for (const [key, help] of Object.entries(helps) as [Key, string][]) {
    new Counter({
      name: `ai_router_${prefix}${key}_total`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(key));
      },
    });
  }
}
