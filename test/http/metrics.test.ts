import { once } from 'node:events';
import { chmod, readFile, truncate } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { SMALL, useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';

const MODEL = 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1';

let volume: string;
const daemon = useDaemon(async (folder) => {
  volume = folder;
  return { ...SMALL, MODEL_CACHE_DIR: volume };
});

async function scrape(): Promise<string> {
  const response = await fetch(`${daemon.url}/metrics`);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return response.text();
}

describe('GET /metrics', () => {
  it('counts a request that could not be read, and no longer as open', async () => {
    const socket = connect(Number(new URL(daemon.url).port), '127.0.0.1');
    socket.resume().write('this is no HTTP\r\n\r\n');
    await once(socket, 'close');
    const metrics = await scrape();
    expect(metrics).toContain('duration_seconds_count{method="-",route="unreadable",status="400"} 1');
    // The one that asks.
    expect(metrics).toContain('ai_router_http_requests_open 1');
  });

  it('tells requests, decisions and texts', async () => {
    await daemon.post('/classify', { text: 'turn on the lights' });
    await daemon.post('/classify', { text: 'refund '.repeat(300), threshold: 1 });
    await daemon.post('/classify', { text: '' });
    await daemon.post('/classify', { text: 'a ship', labels: ['ships', 'chairs'], threshold: 1 });
    await daemon.post('/v1/embeddings', { input: ['a ship', 'a chair'] });
    await daemon.post('/nowhere/at-all', {});
    const metrics = await scrape();
    expect(metrics).toContain('ai_router_decisions_total{route="lights"} 1');
    expect(metrics).toContain('ai_router_decisions_total{route=""} 1');
    expect(metrics).toContain('ai_router_decisions_total{route="(labels)"} 1');
    expect(metrics).toContain('ai_router_abstentions_total{kind="routes"} 1');
    expect(metrics).toContain('ai_router_abstentions_total{kind="labels"} 1');
    // Labels are a caller's words: no time series, and not public.
    expect(metrics).not.toContain('chairs');
    expect(metrics).toContain('ai_router_truncated_texts_total 1');
    expect(metrics).toContain('ai_router_truncated_tokens_total 346');
    expect(metrics).toContain('ai_router_request_texts_sum 5');
    expect(metrics).toContain('ai_router_request_texts_count 4');
    expect(metrics).toContain('ai_router_errors_total{code="validation_failed"} 1');
    const count = (route: string, status: number, times: number) =>
      `http_request_duration_seconds_count{method="POST",route="${route}",status="${status}"} ${times}`;
    expect(metrics).toContain(count('/classify', 200, 3));
    expect(metrics).toContain(count('/classify', 422, 1));
    expect(metrics).toContain(count('/v1/embeddings', 200, 1));
    // An unknown path must not become a time series of its own.
    expect(metrics).not.toContain('at-all');
  });

  it('tells the model, the cache, the workers and the process', async () => {
    // The first worker serves before the others are up, and says so: degraded.
    const whole = 'ai_router_status{status="ready"} 1';
    await eventually(async () => expect(await scrape()).toContain(whole));
    const metrics = await scrape();
    expect(metrics).toMatch(/ai_router_info\{version="[^"]+",model="Xenova\/all-MiniLM-L6-v2",.*\} 1/);
    expect(metrics).toContain('ai_router_ready 1');
    expect(metrics).toContain('ai_router_check_ok{check="volume",code=""} 1');
    expect(metrics).toContain(
      'ai_router_cache_file_state{path="onnx/model_quantized.onnx",state="verified"} 1',
    );
    expect(metrics).toContain('ai_router_cache_whole 1');
    expect(metrics).toMatch(/ai_router_cache_downloaded_bytes_total\{source="bundled"\} \d{8}/);
    expect(metrics).toMatch(/ai_router_cache_last_verification_timestamp_seconds \d{10}/);
    expect(metrics).toMatch(/ai_router_inference_workers\{state="ready"\} \d/);
    expect(metrics).toMatch(/ai_router_inference_worker_resident_memory_bytes\{worker="0"\} \d{7}/);
    const [, embedded] = /^ai_router_inference_embedded_total (\d+)$/m.exec(metrics) ?? [];
    for (const part of ['queue', 'tokenize', 'forward']) {
      expect(metrics).toContain(`ai_router_inference_${part}_seconds_count ${embedded}`);
    }
    expect(metrics).toMatch(/nodejs_eventloop_lag_p99_seconds/);
  });

  it('tells corruption, repair and the time that it took', async () => {
    const blob = join(volume, 'blobs/sha256', MODEL);
    await chmod(blob, 0o644);
    await truncate(blob, 1_000);
    await eventually(async () => expect(await scrape()).toContain('ai_router_cache_heal_seconds_count 1'));
    const metrics = await scrape();
    expect(metrics).toContain('ai_router_cache_corruptions_total 1');
    expect(metrics).toContain('ai_router_cache_repairs_total 1');
    const quarantined = 'ai_router_cache_quarantined_blobs 1';
    await eventually(async () => expect(await scrape()).toContain(quarantined));
  });
});

it('docs/observability.md lists every metric, with its labels', async () => {
  const { metrics, labels } = parseExposition(await scrape());
  const page = await readFile('docs/observability.md', 'utf8');
  const listed = [...page.matchAll(/^\| `(ai_router_\w+)` \|([\w, ]*)\| .+ \|$/gm)];
  const own = [...metrics].filter((name) => name.startsWith('ai_router_'));
  expect(listed.map(([, name]) => name).sort()).toEqual(own.sort());
  for (const [, name = '', given = ''] of listed) {
    const seen = labels.get(name) ?? labels.get(`${name}_count`);
    if (seen) expect([...seen].sort().join(', '), name).toBe(given.trim().split(', ').sort().join(', '));
  }
});

describe('deploy/', () => {
  it('asks for metrics and labels that exist', async () => {
    const exposed = parseExposition(await scrape());
    const alerts: { groups: { rules: { alert: string; expr: string }[] }[] } = parse(
      await readFile('deploy/prometheus/alerts.yaml', 'utf8'),
    );
    const rules = alerts.groups.flatMap((group) => group.rules);
    const dashboard: { panels: { title: string; targets?: { expr: string }[] }[] } = JSON.parse(
      await readFile('deploy/grafana/ai-router.json', 'utf8'),
    );
    const queries = [
      ...rules.map(({ alert, expr }) => [alert, expr] as const),
      ...dashboard.panels.flatMap(({ title, targets = [] }) =>
        targets.map(({ expr }) => [title, expr] as const),
      ),
    ];
    expect(rules.length).toBeGreaterThan(10);
    expect(queries.length).toBeGreaterThan(50);
    // Prometheus makes `up` itself.
    const known = { ...exposed, names: new Set([...exposed.names, 'up']) };
    expect(
      queries.flatMap(([from, query]) => unknownIn(query, known).map((name) => `${from}: ${name}`)),
    ).toEqual([]);
  });

  it('would not get away with others', async () => {
    const exposed = parseExposition('# TYPE a_seconds histogram\na_seconds_bucket{le="1"} 2\n');
    expect(unknownIn('sum by (le) (rate(a_seconds_bucket{le="1", job="x"}[5m])) > 2.5e6', exposed)).toEqual(
      [],
    );
    expect(unknownIn('rate(b_total[5m]) and a_seconds_bucket{of="1"}', exposed)).toEqual([
      'a_seconds_bucket{of}',
      'b_total',
    ]);
    expect(unknownIn('a_seconds', exposed)).toEqual(['a_seconds']);
  });
});

interface Exposition {
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
function parseExposition(text: string): Exposition {
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
function unknownIn(query: string, { names, labels }: Pick<Exposition, 'names' | 'labels'>): string[] {
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
