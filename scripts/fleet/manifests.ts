import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CHART, MODES, OVERLAYS, REFUSALS } from '../chart.js';
import type { Api } from './api.js';
import { attempt, messageOf, report, say } from './report.js';

const run = promisify(execFile);

/** Oldest version that the chart takes, that of the control plane, and the newest with a schema. */
const VERSIONS = ['1.25', '1.34', '1.37'];
const VALIDATOR = 'kubernetes-validate==1.37.0';
const KUBE_VERSION = ['--kube-version', '1.34.0'];

const set = (values: string): string[] =>
  values === '' ? [] : values.split(' ').flatMap((each) => ['--set', each]);

/** Checks every mode of the chart and every overlay without running a pod: lint, refusals, schemas, server-side dry run. */
export async function manifests(
  api: Api,
  { namespace, tools }: { namespace: string; tools: string },
): Promise<void> {
  for (const values of ['', ...Object.values(MODES)])
    await attempt(`helm lint --strict ${values}`, async () => {
      const text = await api.helm(['lint', '--strict', CHART, ...set(values)]);
      return /.*linted.*/.exec(text)?.[0] ?? text;
    });
  let refused = 0;
  for (const [values, message] of REFUSALS) {
    const answer = await api.helm(['template', 'r', CHART, ...KUBE_VERSION, ...set(values)]).then(
      () => 'accepted',
      (error: unknown) => messageOf(error),
    );
    if (message.test(answer)) refused += 1;
    else report(`refusal of ${values}`, false, answer);
  }
  report('refusals', refused === REFUSALS.length, `${refused} of ${REFUSALS.length} combinations refused`);

  const rendered = new Map<string, string>();
  for (const [mode, values] of Object.entries(MODES))
    rendered.set(
      mode,
      await api.helm(['template', 'router', CHART, ...KUBE_VERSION, '-n', namespace, ...set(values)]),
    );
  for (const folder of OVERLAYS) rendered.set(folder, await api.kubectl(['kustomize', folder]));
  await validate(rendered, tools);
  const args = ['-n', namespace, 'apply', '--server-side', '--dry-run=server', '-f', '-'];
  for (const [name, manifest] of rendered)
    await attempt(`server-side dry run of ${name}`, async () => {
      const text = await api.kubectl(args, manifest);
      return `${text.trim().split('\n').length} objects accepted`;
    });
}

/** Validates manifests against the schemas of three versions of Kubernetes, without a server. */
async function validate(rendered: ReadonlyMap<string, string>, tools: string): Promise<void> {
  const program = join(tools, 'bin/kubernetes-validate');
  if (!existsSync(program)) {
    try {
      await run('python3', ['-m', 'venv', tools]);
      await run(join(tools, 'bin/pip'), ['install', '--quiet', VALIDATOR]);
    } catch (error) {
      say(`SKIPPED kubernetes-validate: ${VALIDATOR} cannot be installed (${messageOf(error)})`);
      return;
    }
  }
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-manifests-'));
  const files: string[] = [];
  for (const [name, manifest] of rendered) {
    const file = join(folder, `${name.replaceAll('/', '-')}.yaml`);
    await writeFile(file, manifest);
    files.push(file);
  }
  for (const version of VERSIONS)
    await attempt(`kubernetes-validate --strict -k ${version}`, async () => {
      const { stdout, stderr } = await run(program, ['--strict', '-k', version, ...files]);
      const count = (word: string): number =>
        (stdout + stderr).split('\n').filter((line) => line.includes(word)).length;
      return `${count(' passed for ')} objects valid, ${count("Couldn't find schema")} of custom kinds left to the API server`;
    });
  await rm(folder, { recursive: true });
}
