import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.js';
import { planTracing } from '../../src/telemetry/tracing.js';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { temporaryFolder } from '../support/volume.js';

const HTTP = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' };

it.each<[NodeJS.ProcessEnv, boolean, readonly string[]]>([
  [{}, false, []],
  [HTTP, true, []],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://localhost:4318/v1/traces' }, true, []],
  [{ ...HTTP, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' }, true, []],
  [{ OTEL_TRACES_EXPORTER: 'none', ...HTTP, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, false, []],
  [{ OTEL_TRACES_EXPORTER: 'console' }, false, ['OTEL_TRACES_EXPORTER']],
  [{ OTEL_TRACES_EXPORTER: 'console', ...HTTP }, false, ['OTEL_TRACES_EXPORTER']],
  [{ OTEL_TRACES_EXPORTER: 'otlp, console', ...HTTP }, true, ['OTEL_TRACES_EXPORTER']],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, false, ['OTEL_EXPORTER_OTLP_PROTOCOL']],
  [{ ...HTTP, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, false, ['OTEL_EXPORTER_OTLP_PROTOCOL']],
  [{ ...HTTP, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc' }, false, ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL']],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' }, false, ['OTEL_EXPORTER_OTLP_ENDPOINT']],
  [
    { ...HTTP, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'collector' },
    false,
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'],
  ],
])('the standard variables %o send spans: %s, with warnings %o', (env, on, settings) => {
  const plan = planTracing(readConfig(env));
  expect([plan.on, plan.warnings.map(({ setting }) => setting)]).toEqual([on, settings]);
  // Disabled, nothing else is read.
  expect(planTracing(readConfig({ ...env, OTEL_SDK_DISABLED: 'TRUE' }))).toEqual({ on: false, warnings: [] });
});

it('never ends the start, and warns once of each variable', async () => {
  const platform = {
    MODEL_CACHE_DIR: await temporaryFolder(),
    HF_HUB_OFFLINE: '1',
    OTEL_TRACES_EXPORTER: 'console,otlp',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'user:s3cret@collector:4317',
    OTEL_TRACES_SAMPLER: 'jaeger_remote',
    OTEL_RESOURCE_ATTRIBUTES: '=,=%',
  };
  const warningsOf = ({ lines }: TestDaemon) =>
    lines.filter(({ msg }) => msg.includes('OpenTelemetry')).map(({ setting }) => setting);
  const daemon = await startDaemon(platform);
  expect((await daemon.get('/livez')).status).toBe(200);
  expect(warningsOf(daemon)).toEqual([
    'OTEL_TRACES_EXPORTER',
    'OTEL_EXPORTER_OTLP_PROTOCOL',
    'OTEL_EXPORTER_OTLP_ENDPOINT',
  ]);
  expect(JSON.stringify(daemon.lines)).not.toContain('s3cret');
  const silent = await startDaemon({ ...platform, OTEL_SDK_DISABLED: 'true' });
  expect(warningsOf(silent)).toEqual([]);
  // The SDK's own variables do not end it either.
  const own = await startDaemon({
    ...platform,
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
    OTEL_EXPORTER_OTLP_TIMEOUT: 'soon',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd',
    OTEL_EXPORTER_OTLP_CERTIFICATE: '/nowhere/ca.pem',
    OTEL_BSP_SCHEDULE_DELAY: 'often',
    OTEL_TRACES_SAMPLER_ARG: 'half',
  });
  expect((await own.get('/livez')).status).toBe(200);
});

it('loads nothing of OpenTelemetry where it is not wanted', async () => {
  const loaded = async (tracesExporter: string, otelDisabled: boolean) => {
    const config = JSON.stringify({
      tracesExporter,
      otelDisabled,
      otelProtocol: 'http/json',
      otelServiceName: 'x',
    });
    const script = `
      import Module from 'node:module';
      const { startTracing } = await import('./src/telemetry/tracing.ts');
      const tracing = await startTracing(${config}, '1.0.0', console);
      const modules = Object.keys(Module._cache).filter((path) => path.includes('@opentelemetry'));
      await tracing?.close(0);
      process.stdout.write(JSON.stringify({ on: tracing !== undefined, modules: modules.length }));`;
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      script,
    ]);
    return JSON.parse(stdout);
  };
  const [none, disabled, on] = await Promise.all([
    loaded('none', false),
    loaded('otlp', true),
    loaded('otlp', false),
  ]);
  expect(none).toEqual({ on: false, modules: 0 });
  expect(disabled).toEqual({ on: false, modules: 0 });
  expect(on).toEqual({ on: true, modules: expect.any(Number) });
  expect(on.modules).toBeGreaterThan(0);
});
