/** One sample of the Prometheus text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Totals since the daemon started, as far as this page shows them. */
export interface Totals {
  /** Answered requests for inference. */
  readonly requests: number;
  /** How many of them took at most this many seconds, by upper bound. */
  readonly buckets: ReadonlyMap<number, number>;
  readonly decisions: number;
  readonly abstentions: number;
  readonly truncated: number;
  /** Texts that wait or are executed now. */
  readonly inFlight: number;
}

/** Reads the Prometheus text format. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const [, name, labels = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    samples.push({ name, labels: parseLabels(labels), value: value === '+Inf' ? Infinity : Number(value) });
  }
  return samples;
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name = '', value = ''] of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char));
  }
  return labels;
}

/** Sums up the figures of this page. */
export function totalsOf(samples: readonly Sample[]): Totals {
  const buckets = new Map<number, number>();
  const sum = (name: string, of: (sample: Sample) => boolean = () => true): number =>
    samples.reduce((all, each) => (each.name === name && of(each) ? all + each.value : all), 0);
  for (const { name, labels, value } of samples) {
    if (name !== 'ai_router_http_request_duration_seconds_bucket' || !isInference(labels)) continue;
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return {
    requests: sum('ai_router_http_request_duration_seconds_count', ({ labels }) => isInference(labels)),
    buckets,
    decisions: sum('ai_router_decisions_total'),
    abstentions: sum('ai_router_decisions_total', ({ labels }) => labels.route === ''),
    truncated: sum('ai_router_truncated_texts_total'),
    inFlight: sum('ai_router_inference_waiting') + sum('ai_router_inference_executing'),
  };
}

/** Whether a request asked for inference, and was not this page's own or an administrator's. */
function isInference({ method, route = '' }: Readonly<Record<string, string>>): boolean {
  return method === 'POST' && route !== 'unmatched' && !/^\/(routes|cache)\b/.test(route);
}

/**
 * A quantile of the requests between two readings, in seconds, taken evenly within its bucket.
 * @returns `undefined` when there were none
 */
export function quantile(share: number, now: Totals, before: Totals): number | undefined {
  const bounds = [...now.buckets.keys()].sort((a, b) => a - b);
  const count = (bound: number): number => (now.buckets.get(bound) ?? 0) - (before.buckets.get(bound) ?? 0);
  const total = count(Infinity);
  if (!(total > 0)) return undefined;
  let lower = 0;
  let below = 0;
  for (const bound of bounds) {
    const upTo = count(bound);
    if (upTo >= share * total) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (share * total - below)) / Math.max(upTo - below, 1e-9);
    }
    lower = bound;
    below = upTo;
  }
  return lower;
}
