export type { CacheStatus, VerificationReport } from '../contract/cache.js';
export type {
  Candidate,
  ClassifyBatchBody,
  ClassifyBody,
  Decision,
  Decisions,
  Label,
} from '../contract/classify.js';
export type { Health } from '../contract/health.js';
export type { DraftLintReport, Finding, LintReport } from '../contract/lint.js';
export type { ProblemBody } from '../contract/problem.js';
export type {
  RouteBody,
  RouteChangeBody,
  RouteInputBody,
  RouteSetBody,
  RouteSetInputBody,
  RouteVersionsBody,
} from '../contract/routes.js';
export { type ChangeOptions, type Client, createClient } from './client.js';
export { ClientError, type ClientErrorCode } from './client-error.js';
export type { CallOptions, ClientOptions } from './transport.js';
