/** A JSON schema as far as the contract uses it. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly format?: string;
  readonly default?: unknown;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** What a reference points at is not said again where the reader can look it up. */
export function nameOf({ $ref }: Schema): string | undefined {
  return $ref?.split('/').at(-1);
}

/** A schema's type in few words. */
export function typeText(schema: Schema): string {
  const name = nameOf(schema);
  if (name !== undefined) return `[${name}](#${name.toLowerCase()})`;
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants) return [...new Set(variants.map(typeText))].join(' or ');
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  if (schema.type === 'object' && schema.properties) {
    const fields = Object.entries(schema.properties);
    return `{ ${fields.map(([key, field]) => `\`${key}\`: ${typeText(field)}`).join(', ')} }`;
  }
  return schema.format ?? schema.type ?? 'anything';
}

/** Bounds and default of a schema, in few words. */
export function boundsText(schema: Schema): string {
  const { minLength, maxLength, minItems, maxItems, minimum, maximum } = schema;
  const own = [
    range(minimum, maximum, ''),
    range(minLength, maxLength, ' characters'),
    range(minItems, maxItems, ' items'),
    ...(schema.default === undefined ? [] : [`default ${code(schema.default)}`]),
  ];
  const items = schema.items ? boundsText(schema.items) : '';
  return [...own, ...(items === '' ? [] : [`each ${items}`])].filter((text) => text !== '').join('; ');
}

function range(min: number | undefined, max: number | undefined, unit: string): string {
  // The bounds of what a number can hold exactly are no bounds to readers.
  const highest = max === Number.MAX_SAFE_INTEGER ? undefined : max;
  const lowest = min === Number.MIN_SAFE_INTEGER || (min === 0 && highest === undefined) ? undefined : min;
  if (lowest !== undefined && highest !== undefined) return `${lowest} to ${highest}${unit}`;
  if (highest !== undefined) return `at most ${highest}${unit}`;
  return lowest === undefined ? '' : `at least ${lowest}${unit}`;
}

/** One row per field. */
export function fieldRows(schema: Schema): string[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).map(([key, field]) => {
    const notes = [field.description ?? '', boundsText(field)].filter((text) => text !== '').join('; ');
    return `| \`${key}\`${required.has(key) ? '' : '?'} | ${typeText(field)} | ${cell(notes)} |`;
  });
}

/** Text that does not break a table. */
export function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}
