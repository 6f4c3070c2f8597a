import { readFile, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { isMap, parseDocument, type YAMLMap } from 'yaml';
import { commandLine } from './command-line.js';

/** Folder of the Helm chart. */
export const CHART = 'deploy/helm/ai-router';

/** Every mode of the chart, as values for `--set`. */
export const MODES: Readonly<Record<string, string>> = {
  baked: '',
  feeder: 'model.mode=feeder',
  mirror: 'model.mode=mirror model.mirror=http://mirror.example:3000',
  volume: 'model.mode=volume model.claim=models replicas=1',
  configmap:
    'routes.mode=configMap routes.file=[{"name":"a"\\,"utterances":["b"]}\\,{"name":"c"\\,"utterances":["d"]}]',
  leader: 'routes.mode=leader routes.editable=true existingSecret=keys',
  url: 'routes.mode=url routes.url=http://bucket.example:3000/routes',
  hpa: 'hpa.enabled=true',
  keda: 'keda.enabled=true',
  everything:
    'monitoring.serviceMonitor=true monitoring.rules=true monitoring.dashboard=true ingress.enabled=true ingress.host=a.example httpRoute.enabled=true httpRoute.gateway=g',
};

/** Folders of plain manifests; the follower's leader comes before it. */
export const OVERLAYS = ['base', 'overlays/autoscaled', 'overlays/volume', 'overlays/follower'].map(
  (folder) => `deploy/kustomize/${folder}`,
);

/** Values that are refused, with what the message says. */
export const REFUSALS: readonly (readonly [values: string, message: RegExp])[] = [
  ['hpa.enabled=true keda.enabled=true', /two autoscalers/],
  ['hpa.enabled=true hpa.min=9 hpa.max=3', /hpa.min is larger/],
  ['keda.enabled=true keda.min=9 keda.max=3', /keda.min is larger/],
  ['model.mode=volume replicas=1', /model.claim/],
  ['model.claim=c', /model.claim is used by model.mode volume only/],
  ['model.mirror=http://a.example', /model.mirror is used by model.mode mirror only/],
  ['routes.url=http://a.example', /routes.url is used by routes.mode url only/],
  ['networkPolicy.enabled=false networkPolicy.egress[0].ports[0].port=4318', /networkPolicy.egress/],
  ['model.mode=volume model.claim=c replicas=2', /ReadWriteOnce/],
  ['model.mode=volume model.claim=c replicas=1 hpa.enabled=true', /ReadWriteOnce/],
  ['model.mode=mirror', /model.mirror/],
  ['routes.mode=url', /routes.url/],
  ['routes.mode=configMap', /routes.file/],
  ['routes.file=x', /ignores routes.file/],
  ['routes.mode=configMap routes.file=x routes.existingConfigMap=y', /ignored/],
  ['routes.editable=true existingSecret=s', /more than one replica/],
  ['routes.editable=true existingSecret=s replicas=1', /lost with the pod/],
  ['routes.editable=true routes.mode=leader', /ADMIN_KEYS/],
  ['routes.editable=true routes.mode=url routes.url=https://a.example existingSecret=s', /followers refuse/],
  ['shutdown.graceSeconds=10', /cut off/],
  ['ingress.enabled=true', /ingress.host/],
  ['httpRoute.enabled=true', /httpRoute.gateway/],
  ['monitoring.key=k', /existingSecret/],
  ['settings.DRAIN_MS=1', /the chart sets it/],
  ['settings.MODEL_SOURCES=hub', /the chart sets it/],
  ['settings.FALLBACK_URL=https://a.example', /NetworkPolicy lets nothing out/],
  ['replicas=0', /replicas/],
  ['pdb.maxUnavailable=100%', /maxUnavailable/],
  ['image.digest=latest', /digest/],
  ['model.mode=magic', /model.mode|model\/mode/],
  ['typo=1', /typo/],
];

const HEAD = `# Helm chart of ai-router

A fleet of equal replicas behind one Service. Generated from \`values.yaml\` by \`npm run chart:readme\`.

\`\`\`sh
helm install router deploy/helm/ai-router --set image.repository=registry.example/ai-router --set image.digest=sha256:…
helm test router
\`\`\`

Combinations that would lose data or do nothing are refused (\`templates/validate.yaml\`). What each mode is for, and what was
measured: [scaling](../../../docs/scaling.md).

| value | default | meaning |
|---|---|---|
`;

/** Returns the text of the chart's README. */
export async function chartReadme(): Promise<string> {
  const { contents } = parseDocument(await readFile(`${CHART}/values.yaml`, 'utf8'));
  if (!isMap(contents)) throw new Error('values.yaml is no mapping');
  return `${HEAD}${rows(contents as YAMLMap<{ value: string; commentBefore?: string }, unknown>, '').join('\n')}\n`;
}

function rows(map: YAMLMap<{ value: string; commentBefore?: string }, unknown>, prefix: string): string[] {
  return map.items.flatMap(({ key, value }, index) => {
    const name = prefix + key.value;
    // The parser gives the comment before the first key to the mapping.
    const comment = key.commentBefore ?? (index === 0 ? map.commentBefore : undefined);
    if (isMap(value) && value.items.length > 0 && !value.flow && name !== 'resources') {
      return rows(value as typeof map, `${name}.`);
    }
    const text = comment?.replace(/\s*\n\s*/g, ' ').trim();
    if (!text) throw new Error(`values.yaml: ${name} has no comment`);
    const shown =
      isMap(value) || typeof value !== 'object'
        ? JSON.stringify(value)
        : JSON.stringify((value as { toJSON(): unknown }).toJSON());
    return [`| \`${name}\` | \`${shown}\` | ${text} |`];
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  commandLine("npm run chart:readme: the chart's README, of the comments in its values.yaml.");
  await writeFile(`${CHART}/README.md`, await chartReadme());
}
