export type { CacheStatus, VerificationReport } from '../api/cache.js';
export type {
  Candidate,
  ClassifyBatchBody,
  ClassifyBody,
  Decision,
  Decisions,
  Label,
} from '../api/classify.js';
export type { Health } from '../api/health.js';
export type { DraftLintReport, Finding, LintReport } from '../api/lint.js';
export type { ProblemBody } from '../api/problem.js';
export type {
  RouteBody,
  RouteChangeBody,
  RouteInputBody,
  RouteSetBody,
  RouteSetInputBody,
  RouteVersionsBody,
} from '../api/routes.js';
export { type ChangeOptions, type Client, createClient } from './client.js';
export { ClientError, type ClientErrorCode } from './client-error.js';
export type { CallOptions, ClientOptions } from './transport.js';
