import { readFileSync } from 'node:fs';

interface Parameter {
  readonly in: string;
  readonly name: string;
  readonly schema: { readonly example?: string };
}

interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly security?: readonly { readonly bearer?: unknown }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
}

/** One operation of the contract, with its path as it can be asked. */
export interface ContractOperation {
  readonly method: string;
  readonly path: string;
  /** Media types of its body; none where it takes none. */
  readonly bodyTypes: readonly string[];
  /** Whether a key of the administrator is wanted. */
  readonly admin: boolean;
}

const METHOD = /^(?:get|put|post|delete|patch)$/;

/** Every operation of `openapi.json`, so that a path that the daemon gains is abused without further ado. */
export const OPERATIONS: readonly ContractOperation[] = Object.entries(
  (
    JSON.parse(readFileSync('openapi.json', 'utf8')) as {
      paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
    }
  ).paths,
).flatMap(([template, operations]) =>
  Object.entries(operations)
    .filter(([method]) => METHOD.test(method))
    .map(([method, operation]) => ({
      method: method.toUpperCase(),
      path: filled(template, operation),
      bodyTypes: Object.keys(operation.requestBody?.content ?? {}),
      admin: operation.security?.some((one) => 'bearer' in one) ?? false,
    })),
);

function filled(template: string, { parameters = [] }: Operation): string {
  return template.replace(/\{([^}]+)\}/g, (_, name: string) => {
    const example = parameters.find((one) => one.in === 'path' && one.name === name)?.schema.example;
    if (example === undefined) throw new Error(`the contract has no example for ${name} of ${template}`);
    return example;
  });
}
