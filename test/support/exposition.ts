/** Metrics of an answer of `/metrics`. */
export interface Exposition {
  /** Names of the metrics. */
  readonly metrics: ReadonlySet<string>;
  /** Names that a query may use, those of histograms' and summaries' parts included. */
  readonly names: ReadonlySet<string>;
  /** Labels of the series that have samples, by such a name. */
  readonly labels: ReadonlyMap<string, ReadonlySet<string>>;
}

const PARTS: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};

/** Reads the Prometheus text format. */
export function parseExposition(text: string): Exposition {
  const metrics = new Set<string>();
  const names = new Set<string>();
  const labels = new Map<string, Set<string>>();
  for (const [, name = '', kind = ''] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    metrics.add(name);
    for (const part of PARTS[kind] ?? ['']) names.add(name + part);
  }
  for (const [, name = '', inside = ''] of text.matchAll(/^([a-z]\w*)(?:\{(.*)\})? \S+$/gm)) {
    const known = labels.get(name) ?? new Set();
    for (const [, label = ''] of inside.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) known.add(label);
    labels.set(name, known);
  }
  return { metrics, names, labels };
}

/** Words of the query language that are no metrics. */
const WORDS = new Set(['and', 'or', 'unless', 'bool', 'offset']);
/** Labels that Prometheus itself adds to every series. */
const TARGET_LABELS = new Set(['job', 'instance']);

/** Names in a query that are not exposed: metrics, and labels of metrics that have samples. */
export function unknownIn(query: string, { names, labels }: Pick<Exposition, 'names' | 'labels'>): string[] {
  const found = [...query.matchAll(/([a-z_]\w*)\s*(?:\{([^}]*)\})/g)].flatMap(([, name = '', inside = '']) =>
    [...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)]
      .map(([, label = '']) => label)
      .filter((label) => !TARGET_LABELS.has(label) && labels.get(name)?.has(label) === false)
      .map((label) => `${name}{${label}}`),
  );
  const bare = query
    .replace(/"[^"]*"/g, '')
    .replace(/\{[^}]*\}|\[[^\]]*\]/g, ' ')
    .replace(/\b(by|without|on|ignoring)\s*\([^)]*\)/g, ' ')
    .replace(/\b\d[\d.]*(e\d+)?\b/g, ' ');
  const metrics = [...bare.matchAll(/[a-zA-Z_]\w*(?!\w)(?!\s*\()/g)].map(([name]) => name);
  return [...found, ...metrics.filter((name) => !WORDS.has(name) && !names.has(name))];
}
