import { serveHttp } from './listen.js';

/** A span as it came over OTLP/HTTP, with its attributes as one object. */
export interface CollectedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code?: number };
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Attributes of the resource that sent it. */
  readonly resource: Readonly<Record<string, unknown>>;
}

/** An OpenTelemetry collector on this machine, which refuses the first batch that it gets. */
export interface Collector {
  readonly url: string;
  readonly spans: CollectedSpan[];
  readonly refused: number;
  /** The `authorization` headers that came. */
  readonly authorizations: Set<string | undefined>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

type Sent = Omit<CollectedSpan, 'attributes' | 'resource'> & { readonly attributes: Attribute[] };

interface Body {
  readonly resourceSpans: {
    readonly resource: { readonly attributes: Attribute[] };
    readonly scopeSpans: { readonly spans: Sent[] }[];
  }[];
}

/** Starts one; `atEnd` gets what ends it. */
export async function startCollector(atEnd: (end: () => void) => void): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const authorizations = new Set<string | undefined>();
  let refused = 0;
  const url = await serveHttp(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (refused === 0) {
      refused += 1;
      response.writeHead(400).end('not yet');
      return;
    }
    authorizations.add(request.headers.authorization);
    if (request.url === '/v1/traces') {
      const { resourceSpans }: Body = JSON.parse(Buffer.concat(chunks).toString());
      for (const { resource, scopeSpans } of resourceSpans) {
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
          const attributes = objectOf(span.attributes);
          spans.push({ ...span, attributes, resource: objectOf(resource.attributes) });
        }
      }
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }, atEnd);
  return {
    url,
    spans,
    authorizations,
    get refused() {
      return refused;
    },
  };
}

function objectOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
