import type { CacheFile, CacheStatus, Health, VerificationReport } from '../../packages/client/src/index.js';
import { withKey, wordsOf } from './api.js';
import {
  byId,
  bytes,
  clock,
  el,
  fact,
  fill,
  milliseconds,
  percent,
  plural,
  setText,
  span,
  whenChanged,
} from './dom.js';

/** How far the daemon is, or that it does not answer. */
export type State = Health | 'unreachable';

const LABELS: Readonly<Record<string, readonly [label: string, tone: string]>> = {
  ready: ['Ready', 'ok'],
  degraded: ['Degraded', 'warn'],
  starting: ['Starting', 'busy'],
  draining: ['Shutting down', 'warn'],
  failed: ['Failed', 'bad'],
  unreachable: ['Unreachable', 'bad'],
};

const PHASES: Readonly<Record<string, string>> = {
  verifying: 'Verifying the model on the volume',
  copying: 'Copying the model that came with the program',
  downloading: 'Downloading the model',
  waiting: 'Waiting for the next attempt at the model',
  loading: 'Loading the model and proving it with known texts',
  warming: 'Embedding the routes’ utterances',
  training: 'Training on the routes’ utterances',
};

/** Describes the work that keeps the daemon from being ready, for the box above everything else. */
interface Notice {
  readonly tone: string;
  readonly title: string;
  readonly share?: number;
  readonly progress?: string;
  readonly reasons: readonly Reason[];
}

/** Why, in a sentence, and in the daemon's own words for those who open it. */
interface Reason {
  readonly text: string;
  readonly details?: string;
}

/** The last readings of a download, from which its speed is computed. */
const readings: { at: number; done: number }[] = [];

/** Shows the state in the bar, and above everything else while it is not simply `ready`. */
export function showState(state: State, cache: CacheStatus | undefined): void {
  const name =
    state === 'unreachable' ? state : state.phase === 'failed' ? 'failed' : (state.status as string);
  const [label, tone] = LABELS[name] ?? [name, 'busy'];
  const pill = byId('state');
  setText(pill, label);
  pill.dataset.tone = tone;
  pill.dataset.state = name;
  if (state !== 'unreachable') {
    setText(byId('uptime'), `up ${span(state.uptime_s * 1_000)}`);
    setText(byId('version'), `ai-router ${state.version}`);
  }
  showNotice(state === 'unreachable' ? UNREACHABLE : noticeOf(state, tone, cache));
}

const UNREACHABLE: Notice = {
  tone: 'bad',
  title: 'The daemon does not answer. What is shown below is what it said last; trying again.',
  reasons: [],
};

const showNotice = whenChanged((notice: Notice | undefined) => {
  const box = byId('notice');
  box.hidden = notice === undefined;
  if (!notice) return;
  box.dataset.tone = notice.tone;
  setText(byId('notice-title'), notice.title);
  const bar = byId('notice-bar');
  bar.hidden = notice.share === undefined;
  bar.style.setProperty('--share', String(notice.share ?? 0));
  bar.setAttribute('aria-valuenow', String(Math.round((notice.share ?? 0) * 100)));
  const progress = byId('notice-progress');
  progress.hidden = notice.progress === undefined;
  setText(progress, notice.progress ?? '');
  fill(
    byId('notice-reasons'),
    ...notice.reasons.map(({ text, details }) =>
      el(
        'li',
        {},
        text,
        details !== undefined &&
          details !== text &&
          el('details', {}, el('summary', {}, 'Details'), el('p', {}, details)),
      ),
    ),
  );
});

/** Returns the reason why texts are not answered; `undefined` where they are. */
export function waitingFor(state: State): string | undefined {
  if (state === 'unreachable') return 'the daemon does not answer';
  if (state.status === 'ready' || state.status === 'degraded') return undefined;
  if (state.status === 'draining') return 'the daemon is shutting down';
  const { model, cache } = state.checks;
  if (state.phase === 'failed') return 'the model cannot be used';
  const isFirst = !cache.ok && !model.ok;
  return isFirst ? 'the model is not on the volume yet' : lowerFirst(PHASES[state.phase] ?? state.phase);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function noticeOf(health: Health, tone: string, cache: CacheStatus | undefined): Notice | undefined {
  const { status, phase, progress } = health;
  if (status === 'ready') return undefined;
  const reasons = reasonsOf(health, cache);
  if (status === 'draining') return { tone, title: 'Finishing open requests, then ending', reasons };
  if (status === 'degraded') return { tone, title: 'It serves, but something needs care', reasons };
  if (phase === 'failed') return { tone, title: 'The model cannot be used', reasons };
  // Trouble during a start needs attention.
  const troubled = reasons.length > 0;
  return {
    tone: troubled ? 'warn' : tone,
    title: troubled ? 'The start is held up' : (PHASES[phase] ?? phase),
    ...(progress && progress.total > 0 && { share: progress.done / progress.total }),
    ...(progress && { progress: progressText(progress) }),
    reasons,
  };
}

/** Every check that fails for a reason of its own, not only because the start is not over. */
function reasonsOf({ checks, status }: Health, cache: CacheStatus | undefined): Reason[] {
  const failing = Object.entries(checks).filter(
    ([, { ok, code }]) => !ok && (status !== 'starting' || (code !== undefined && code !== 'not_ready')),
  );
  const retry = cache?.verification.retry;
  const next = retry ? ` Next attempt at ${clock(retry)}.` : '';
  const reasons = failing.map(([name, { detail = 'not well', code }]): Reason => {
    const last = cache?.verification.last;
    if (name === 'routes' && status === 'degraded')
      return { text: `The routes are not what was written; those from before go on:\n${detail}` };
    if (name !== 'cache' || !cache || !last) return { text: `${name}${code ? ` (${code})` : ''}: ${detail}` };
    const effect = status === 'degraded' ? ' Answers go on from memory, a restart would fail.' : '';
    return {
      text: `${troubleOf(cache)}${effect}${next}`,
      details: [code, last.error?.message ?? detail].filter(Boolean).join(': '),
    };
  });
  if (next && !failing.some(([name]) => name === 'cache')) reasons.push({ text: next.trim() });
  return reasons;
}

/** Which files are not as they should be, and why they cannot be had, in a sentence. */
function troubleOf({ files, verification: { last } }: CacheStatus): string {
  const said = (state: CacheFile['state'], words: string): string | false => {
    const bad = files.filter((file) => file.state === state);
    if (bad.length === 0) return false;
    const names = bad.length <= 2 ? bad.map(({ path }) => path).join(' and ') : plural(bad.length, 'file');
    return `${names} ${bad.length === 1 ? 'is' : 'are'} ${words}`;
  };
  const states = [said('corrupt', 'damaged on disk'), said('missing', 'missing')].filter(Boolean).join(', ');
  const causes = [...new Set((last?.failures ?? []).map(causeOf))].join('; ');
  const subject = states || 'The files on the volume are not whole';
  return causes === '' ? `${subject}.` : `${subject} and cannot be fetched: ${causes}.`;
}

/** The cause of a failed fetch without its path and address. */
function causeOf({ source, message }: VerificationReport['failures'][number]): string {
  const cause = message.replace(/^.* from https?:\S+: /, '');
  const [, host = '', rest] = /^(\S+): (.*)$/.exec(cause) ?? [];
  return rest && source.includes(host) ? `${source} ${rest}` : `${source}: ${cause}`;
}

function progressText({ done, total, unit }: NonNullable<Health['progress']>): string {
  if (unit !== 'bytes') return `${done} of ${plural(total, unit.replace(/s$/, ''))}`;
  const text = `${bytes(done)} of ${bytes(total)} · ${percent(total === 0 ? 0 : done / total)}`;
  const speed = speedOf(done);
  if (speed === undefined) return text;
  return `${text} · ${bytes(speed)}/s · about ${span(((total - done) / speed) * 1_000)} left`;
}

/** Bytes per second over the last seconds; `undefined` while nothing comes. */
function speedOf(done: number): number | undefined {
  const at = performance.now();
  if (done < (readings.at(-1)?.done ?? 0)) readings.length = 0;
  readings.push({ at, done });
  while (readings.length > 1 && at - (readings[0]?.at ?? at) > 5_000) readings.shift();
  const [first] = readings;
  if (!first || at - first.at < 400 || done <= first.done) return undefined;
  return ((done - first.done) / (at - first.at)) * 1_000;
}

const TONES: Readonly<Record<string, string>> = {
  verified: 'ok',
  corrupt: 'bad',
  missing: 'bad',
  downloading: 'busy',
  repairing: 'warn',
  copied: 'ok',
  downloaded: 'ok',
  repaired: 'ok',
  quarantined: 'warn',
  source_failed: 'warn',
  volume: 'warn',
  unstable: 'bad',
  failed: 'bad',
};

const EVENTS_SHOWN = 6;

export function showCache(cache: CacheStatus): void {
  showFiles(cache.files);
  showTimeline(cache.verification);
  dropResult(cache.verification);
  showFacts(cache);
  showEvents(cache.events);
}

const STATES: Readonly<Record<CacheFile['state'], string>> = {
  unknown: 'not looked at yet',
  verified: 'verified',
  missing: 'missing',
  corrupt: 'damaged',
  downloading: 'being fetched',
  repairing: 'being repaired',
};

const showFiles = whenChanged((files: CacheStatus['files']) => {
  fill(
    byId('shelf'),
    ...files.map((file) =>
      el(
        'div',
        {
          title: `${file.path}: ${bytes(file.size)}, ${STATES[file.state]}`,
          class: file.state,
          'data-tone': TONES[file.state],
          '--weight': file.size,
        },
        el('i', { '--share': shareOf(file) }),
      ),
    ),
  );
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const states = [...new Set(files.map(({ state }) => state))];
  fill(
    byId('shelf-legend'),
    ...states.map((state) => {
      const size = files.reduce((sum, file) => (file.state === state ? sum + file.size : sum), 0);
      const key = el('i', { class: `key ${state}`, 'data-tone': TONES[state] });
      return el('span', {}, key, `${STATES[state]} ${bytes(size)}`);
    }),
    el('span', {}, `to scale, ${bytes(total)} in all`),
  );
  fill(byId('files'), ...files.map(fileRow));
});

function fileRow(file: CacheFile): HTMLElement {
  const coming = file.state === 'downloading' || file.state === 'repairing';
  const since = file.verified_at ? clock(file.verified_at) : '';
  return el(
    'li',
    {},
    el('code', { title: file.digest }, file.path),
    el('span', { class: 'quiet num' }, bytes(file.size)),
    el('span', { class: 'tag', 'data-tone': TONES[file.state] }, STATES[file.state]),
    el(
      'span',
      { class: 'quiet num' },
      coming ? `${bytes(file.bytes)} so far` : [since, file.source].filter(Boolean).join(' · '),
    ),
    file.reason !== null &&
      el('span', { class: 'quiet reason', title: file.reason }, shortDigests(file.reason)),
  );
}

/** Digests are compared by their beginning; the whole text is the title. */
function shortDigests(text: string): string {
  return text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, '$1…');
}

function shareOf({ state, bytes: done, size }: CacheFile): number {
  if (state === 'verified' || state === 'corrupt') return 1;
  return size === 0 ? 0 : Math.min(1, done / size);
}

/** A line from the last verification to the next one, filled up to now. */
function showTimeline({ last, next, running, cron }: CacheStatus['verification']): void {
  const from = last ? Date.parse(last.started_at) : undefined;
  const to = next === null ? undefined : Date.parse(next);
  const now = Date.now();
  const share = from !== undefined && to !== undefined && to > from ? (now - from) / (to - from) : 0;
  const box = byId('timeline');
  if (box.childElementCount === 0) {
    fill(
      box,
      el('div', { class: 'track' }, el('i')),
      el('p', { class: 'row quiet' }, el('span', { id: 'last-run' }), el('span', { id: 'next-run' })),
    );
  }
  box.style.setProperty('--share', String(Math.min(1, Math.max(0, share))));
  setText(byId('last-run'), running ? 'Verifying now…' : lastText(last, now));
  setText(
    byId('next-run'),
    to === undefined ? 'None is planned' : `Next in ${span(to - now)}, at ${clock(String(next))} (${cron})`,
  );
}

function lastText(last: VerificationReport | null, now: number): string {
  if (!last) return 'Not verified yet';
  const ago = span(now - Date.parse(last.started_at));
  return `Last verified ${ago} ago (${last.reason}, ${milliseconds(last.duration_ms)}): ${outcomeOf(last)}`;
}

/** Describes the result of a verification in words. */
function outcomeOf(report: VerificationReport): string {
  const { whole, corrupt, missing, fetched, healed, error } = report;
  if (whole && fetched.length === 0) return healed.length > 0 ? 'whole again' : 'whole';
  if (!whole) {
    const found = [
      corrupt.length > 0 && `${plural(corrupt.length, 'damaged file')}`,
      missing.length > 0 && `${plural(missing.length, 'missing file')}`,
    ].filter((each) => typeof each === 'string');
    return `not whole; ${found.join(', ') || (error?.message ?? 'see the events')}`;
  }
  const replaced = fetched.filter((path) => corrupt.includes(path)).length;
  const added = fetched.length - replaced;
  const done = [
    replaced > 0 && `${plural(replaced, 'damaged file')} ${replaced === 1 ? 'was' : 'were'} replaced`,
    added > 0 && isFirstFill(report) && `first fill: ${plural(added, 'file')} fetched`,
    added > 0 && !isFirstFill(report) && `${plural(added, 'missing file')} fetched`,
  ].filter((each) => typeof each === 'string');
  return `whole; ${done.join(', ')}`;
}

/** On an empty volume everything is missing, as it should be. */
function isFirstFill({ reason, missing, fetched, verified, corrupt }: VerificationReport): boolean {
  const kept = verified.filter((path) => !fetched.includes(path)).length;
  return reason === 'boot' && kept === 0 && corrupt.length === 0 && missing.length >= fetched.length;
}

const showFacts = whenChanged(({ volume, counters, quarantine }: CacheStatus) => {
  const { path, mount, writable, free_bytes: free, total_bytes: total, problem } = volume;
  fill(
    byId('cache-facts'),
    fact('Volume', el('code', {}, path)),
    fact(
      'Kind',
      problem?.message ?? `${mount ? 'a mount' : 'a folder, no mount'}${writable ? '' : ', read-only'}`,
    ),
    fact('Free', free === null ? 'unknown' : `${bytes(free)}${total === null ? '' : ` of ${bytes(total)}`}`),
    fact('Verifications', plural(counters.verifications, 'run')),
    fact('Corruptions', `${counters.corruptions}, ${counters.repairs} repaired`),
    fact('Fetched', `${plural(counters.downloads, 'file')}, ${bytes(counters.downloaded_bytes)}`),
    fact('Quarantine', quarantine.length === 0 ? 'empty' : plural(quarantine.length, 'file')),
  );
});

const showEvents = whenChanged((events: CacheStatus['events']) => {
  const list = byId('events');
  if (events.length === 0) fill(list, el('li', { class: 'quiet none' }, 'Nothing has happened yet.'));
  else fill(list, ...events.slice(0, EVENTS_SHOWN).map(eventRow));
  const more = events.slice(EVENTS_SHOWN);
  const box = byId<HTMLDetailsElement>('events-more');
  box.hidden = more.length === 0;
  setText(byId('events-more-title'), `${plural(more.length, 'earlier event')}`);
  fill(byId('events-earlier'), ...more.map(eventRow));
});

function eventRow({ at, kind, path, message }: CacheStatus['events'][number]): HTMLElement {
  return el(
    'li',
    {},
    el('time', { datetime: at, title: at }, clock(at)),
    el('span', { class: 'kind', 'data-tone': TONES[kind] }, kind.replace('_', ' ')),
    el('span', { title: message }, shortDigests(path ? `${path}: ${message}` : message)),
  );
}

/** When the verification began whose result stands beside the button. */
let shownResult: string | undefined;

/** The result goes with the next verification, which may say otherwise. */
function dropResult({ last }: CacheStatus['verification']): void {
  if (shownResult === undefined || !last || last.started_at <= shownResult) return;
  shownResult = undefined;
  setText(byId('verify-result'), '');
}

export function enableVerify(after: () => void): void {
  const button = byId<HTMLButtonElement>('verify');
  const said = byId('verify-result');
  button.addEventListener('click', async () => {
    button.disabled = true;
    button.ariaBusy = 'true';
    setText(said, 'Verifying…');
    try {
      const report = await withKey('admin', (client) => client.verifyCache());
      shownResult = report.started_at;
      setText(said, `Verified in ${milliseconds(report.duration_ms)}: ${outcomeOf(report)}.`);
    } catch (error) {
      setText(said, `Not verified: ${wordsOf(error)}`);
    } finally {
      button.disabled = false;
      button.ariaBusy = null;
    }
    after();
  });
}
