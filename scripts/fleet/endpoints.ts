import type { Api, Resource } from './api.js';

/** The port of the daemon in every pod. */
export const PORT = 3_000;

/** A ready address of a Service. */
export interface Endpoint {
  readonly address: string;
  readonly pod: string;
}

interface Slice extends Resource {
  /** `null` where there are none. */
  readonly endpoints:
    | readonly {
        readonly addresses: readonly string[];
        readonly conditions: { readonly ready?: boolean };
        readonly targetRef?: { readonly name: string };
      }[]
    | null;
}

/** Addresses of endpoints may not be loopback: each pod has one of the range for benchmarks, which stands for one of loopback. */
export const loopbackOf = (address: string): string => address.replace(/^198\.18\./, '127.18.');

/** The URL of a pod. */
export const urlOf = ({ address }: { readonly address: string }): string =>
  `http://${loopbackOf(address)}:${PORT}`;

/** The ready addresses of every Service, by `namespace/name`, from a watch of the EndpointSlices. */
export class Endpoints {
  readonly #slices = new Map<string, Slice>();
  readonly #followers = new Set<() => void>();

  static async follow(api: Api): Promise<Endpoints> {
    const endpoints = new Endpoints();
    await api.watch<Slice>('/apis/discovery.k8s.io/v1/endpointslices', (slice, gone) => {
      if (gone) endpoints.#slices.delete(slice.metadata.uid);
      else endpoints.#slices.set(slice.metadata.uid, slice);
      for (const changed of endpoints.#followers) changed();
    });
    return endpoints;
  }

  ready(service: string): readonly Endpoint[] {
    return [...this.#slices.values()]
      .filter(
        ({ metadata: { namespace, labels } }) =>
          `${namespace}/${labels?.['kubernetes.io/service-name']}` === service,
      )
      .flatMap(({ endpoints }) => endpoints ?? [])
      .filter(({ conditions }) => conditions.ready === true)
      .map(({ addresses: [address = ''], targetRef }) => ({ address, pod: targetRef?.name ?? '' }));
  }

  /** Calls `changed` after each event, until the returned function is called. */
  onChange(changed: () => void): () => void {
    this.#followers.add(changed);
    return () => this.#followers.delete(changed);
  }
}
