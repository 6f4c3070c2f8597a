import type { Context } from 'koa';

/** A part of the path; a wildcard's is one string or several. */
export function pathParam(context: Context, name: string): string {
  const { params } = context as { params?: Readonly<Record<string, unknown>> };
  const value = params?.[name];
  return Array.isArray(value) ? value.join('/') : typeof value === 'string' ? value : '';
}
