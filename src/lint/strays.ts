import type { Compared } from './comparison.js';
import { type Finding, type Place, quoted } from './finding.js';

/** From this lead of another route on, an utterance is more than a borderline case. In cosine. */
const CLEAR_LEAD = 0.05;
/** An outlier is this many standard deviations less like its route than the others are… */
const OUTLIER_DEVIATIONS = 2.5;
/** …and less like it than this cosine, and stands in a route with so many others. */
const OUTLIER_BELOW = 0.5;
const OUTLIER_MIN_SIZE = 5;

/** Utterances that another route would take, and those that are unlike anything else in their route. */
export function findStrays(
  names: readonly string[],
  places: readonly Place[],
  compared: readonly Compared[],
): Finding[] {
  const findings: Finding[] = [];
  const limits = outlierLimits(names.length, compared);
  for (const { row, route, taken, lead, own, other } of compared) {
    const place = places[row];
    const home = names[route] ?? '';
    if (!place || own.row < 0) continue;
    const away = places[other.row];
    if (taken !== route && away && other.similarity > own.similarity) {
      const goal = names[taken] ?? '';
      findings.push({
        severity: lead >= CLEAR_LEAD ? 'warning' : 'info',
        kind: 'nearer_elsewhere',
        routes: [home, goal],
        utterances: [place, away],
        similarity: other.similarity,
        message: `${quoted(place.utterance)} stands in "${home}" (nearest there: ${own.similarity.toFixed(2)}) but is nearer to ${quoted(away.utterance)} in "${away.route}" (${other.similarity.toFixed(2)}); without it, such a text goes to "${goal}"`,
        advice: `If it belongs to "${goal}", move it; if not, add utterances like it to "${home}".`,
      });
    } else if (own.similarity < (limits[route] ?? -1)) {
      findings.push({
        severity: 'info',
        kind: 'outlier',
        routes: [home],
        utterances: [place],
        similarity: own.similarity,
        message: `${quoted(place.utterance)} is unlike everything else in "${home}" (nearest: ${own.similarity.toFixed(2)})`,
        advice: 'If people say such things, add some more like it; if it got there by mistake, delete it.',
      });
    }
  }
  return findings;
}

/** Below which similarity to the nearest neighbour an utterance of each route is an outlier. */
function outlierLimits(routes: number, compared: readonly Compared[]): number[] {
  const similarities = Array.from({ length: routes }, (): number[] => []);
  for (const { route, own } of compared) if (own.row >= 0) similarities[route]?.push(own.similarity);
  return similarities.map((values) => {
    if (values.length < OUTLIER_MIN_SIZE) return -1;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    return Math.min(OUTLIER_BELOW, mean - OUTLIER_DEVIATIONS * Math.sqrt(variance));
  });
}
