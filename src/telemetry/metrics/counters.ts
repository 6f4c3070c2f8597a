import { Counter, type Registry } from 'prom-client';

/** A counter whose value another part keeps. */
export function counterFrom(name: string, help: string, registers: Registry[], read: () => number): void {
  new Counter({
    name,
    help,
    registers,
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

/** Several of them, named `<prefix>_<key>_total`. */
export function countersFrom<Key extends string>(
  prefix: string,
  helps: Readonly<Record<Key, string>>,
  registers: Registry[],
  read: (key: Key) => number,
): void {
  for (const [key, help] of Object.entries(helps) as [Key, string][]) {
    counterFrom(`${prefix}_${key}_total`, help, registers, () => read(key));
  }
}
