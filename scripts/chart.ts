// `npm run chart:readme`: the chart's README, of the comments in its values.yaml.
import { readFile, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { isMap, parseDocument, type YAMLMap } from 'yaml';

/** Folder of the Helm chart. */
export const CHART = 'deploy/helm/ai-router';

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
  await writeFile(`${CHART}/README.md`, await chartReadme());
}
