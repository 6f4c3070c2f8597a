const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes as people read them: `23.0 MB`. */
export function bytes(count: number): string {
  const unit = count < 1_000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1_000 ** unit;
  return `${unit === 0 ? value : value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** A count with its noun: `1 route`, `1,200 routes`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** A time span in its one or two largest units. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** Milliseconds with as many digits as say something. */
export function milliseconds(ms: number): string {
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** A rate per second with as many digits as say something. */
export function rate(perSecond: number): string {
  return perSecond === 0 ? '0' : perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** A share of 1. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** A score or cosine to two digits; only what is 1 is written so. */
export function score(value: number): string {
  return Math.min(value, value < 1 ? 0.99 : 1).toFixed(2);
}

/** Time of day, in the reader's zone. */
export function clock(iso: string): string {
  return new Date(iso).toLocaleTimeString('en-GB');
}
