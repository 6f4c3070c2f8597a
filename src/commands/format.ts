/** Bytes as people read them: `23.0 MB`, in powers of ten as disks and rates are sold. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['bytes', 'kB', 'MB']) {
    if (value < 1_000) return unit === 'bytes' ? `${value} bytes` : `${value.toFixed(1)} ${unit}`;
    value /= 1_000;
  }
  return `${value.toFixed(2)} GB`;
}

/** A span of time as people read it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 0 min`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1_000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Rows of text with their columns aligned; the last column is as long as it likes. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0))).join('  '),
  );
}

/** `1 file`, `3 files`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
