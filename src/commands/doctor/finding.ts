/** What one check found. `warn` works, but not as well as it could, or not always. */
export interface Finding {
  readonly check: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** What to do about it; always there unless all is well. */
  readonly fix?: string;
}

/** All is well. */
export function fine(check: string, detail: string): Finding {
  return { check, status: 'ok', detail };
}

/** Works, but. */
export function warning(check: string, detail: string, fix: string): Finding {
  return { check, status: 'warn', detail, fix };
}

/** Does not work. */
export function fault(check: string, detail: string, fix: string): Finding {
  return { check, status: 'fail', detail, fix };
}
