/** The environment in which a program loads `crash-point.mjs`. It needs MODEL_CACHE_DIR as well. */
export function crashPoint(options: { at: number } | { trace: string }): Record<string, string> {
  const preload = new URL('./crash-point.mjs', import.meta.url).href;
  const point = 'at' in options ? { CRASH_AT: String(options.at) } : { CRASH_TRACE: options.trace };
  return { NODE_OPTIONS: `--import=${preload}`, ...point };
}
