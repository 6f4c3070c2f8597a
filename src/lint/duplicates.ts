import type { RouteSet } from '../routes/route-set.js';
import type { Comparison } from './comparison.js';
import { type Finding, type Place, quoted } from './finding.js';

/** Texts that are the same but for case, punctuation and spaces, and texts that are nearly the same to the model. */
export function findDuplicates(set: RouteSet, places: readonly Place[], comparison: Comparison): Finding[] {
  const findings: Finding[] = [];
  for (const group of groupsOf(set)) {
    const routes = [...new Set(group.map(({ route }) => route))];
    const [first] = group;
    if (!first) continue;
    const across = routes.length > 1;
    findings.push({
      severity: across ? 'error' : 'info',
      kind: across ? 'duplicate_across' : 'duplicate_within',
      routes,
      utterances: group,
      similarity: 1,
      message: across
        ? `${quoted(first.utterance)} stands in ${routes.map((route) => `"${route}"`).join(' and ')}`
        : `${quoted(first.utterance)} stands ${group.length} times in "${routes[0]}", but for case, punctuation or spaces`,
      advice: across
        ? 'Keep it where it belongs and delete it elsewhere: as it is, the set contradicts itself.'
        : 'Keep one of them; another wording would teach more.',
    });
  }
  for (const { a, b, similarity } of comparison.pairs) {
    const one = places[a];
    const two = places[b];
    if (!one || !two || plain(one.utterance) === plain(two.utterance)) continue;
    const across = one.route !== two.route;
    findings.push({
      severity: across ? 'warning' : 'info',
      kind: across ? 'near_duplicate_across' : 'near_duplicate_within',
      routes: across ? [one.route, two.route] : [one.route],
      utterances: [one, two],
      similarity,
      message: across
        ? `${quoted(one.utterance)} in "${one.route}" and ${quoted(two.utterance)} in "${two.route}" are nearly the same to the model (cosine ${similarity.toFixed(2)})`
        : `${quoted(one.utterance)} and ${quoted(two.utterance)} in "${one.route}" are nearly the same to the model (cosine ${similarity.toFixed(2)})`,
      advice: across
        ? 'Move one of them, or reword both so that each says what sets its route apart.'
        : 'Replace one with something that people say in other words.',
    });
  }
  return findings;
}

/** Utterances that are equal once case, punctuation and spaces are gone, two or more at a time. */
function groupsOf(set: RouteSet): Place[][] {
  const groups = new Map<string, Place[]>();
  for (const { name, utterances } of set.routes) {
    for (const utterance of utterances) {
      const key = plain(utterance);
      const group = groups.get(key);
      if (group) group.push({ route: name, utterance });
      else groups.set(key, [{ route: name, utterance }]);
    }
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

function plain(text: string): string {
  const letters = text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, ' ')
    .trim();
  // What consists of signs alone ("?", "😀") is told apart by them.
  return letters === '' ? text : letters;
}
