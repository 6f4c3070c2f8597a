import * as z from 'zod';
import type { FieldIssue } from './errors.js';

/** The faults that a schema found, each with the path of its field (`files[0].size`). */
export function issuesOf(error: z.ZodError): FieldIssue[] {
  return error.issues.map(({ path, message }) => ({ path: z.core.toDotPath(path), message }));
}
