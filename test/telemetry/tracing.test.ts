import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.js';

it.each<[NodeJS.ProcessEnv, string, boolean]>([
  [{}, 'none', false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' }, 'otlp', false],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://localhost:4318/v1/traces' }, 'otlp', false],
  [{ OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'TRUE' }, 'otlp', true],
  [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' }, 'none', false],
])('the standard variables %o are understood', (env, tracesExporter, otelDisabled) => {
  expect(readConfig(env)).toMatchObject({ tracesExporter, otelDisabled });
});

it('a protocol that cannot be spoken is refused', () => {
  expect(() => readConfig({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' })).toThrow(/http\/json, http\/protobuf/);
});

it('loads nothing of OpenTelemetry where it is not wanted', async () => {
  const loaded = async (tracesExporter: string, otelDisabled: boolean) => {
    const config = JSON.stringify({ tracesExporter, otelDisabled, otelServiceName: 'x' });
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
