import { byId, el, fill, setText, whenChanged } from './dom.js';
import { bytes, percent, plural, span } from './format.js';
import type { CacheStatus, Health } from './wire.js';

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
  downloading: 'Downloading the model',
  loading: 'Loading the model and proving it with known texts',
  warming: 'Embedding the routes’ utterances',
};

/** What is going on that keeps the daemon from simply being ready, for the box above everything else. */
interface Notice {
  readonly tone: string;
  readonly title: string;
  readonly share?: number;
  readonly progress?: string;
  readonly reasons: readonly string[];
}

const REASON_CHARS = 160;

/** The last readings of a download, from which its speed is told. */
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
  fill(byId('notice-reasons'), ...notice.reasons.map((reason) => el('li', {}, shortened(reason))));
});

/** Long reasons, with every file and address, are there for whoever opens them. */
function shortened(reason: string): Node | string {
  if (reason.length <= REASON_CHARS) return reason;
  return el('details', {}, el('summary', {}, `${reason.slice(0, REASON_CHARS)}…`), el('p', {}, reason));
}

function noticeOf(health: Health, tone: string, cache: CacheStatus | undefined): Notice | undefined {
  const { status, phase, progress } = health;
  if (status === 'ready') return undefined;
  const reasons = reasonsOf(health, cache);
  if (status === 'draining') return { tone, title: 'Finishing open requests, then ending', reasons };
  if (status === 'degraded') return { tone, title: 'It serves, but something needs care', reasons };
  if (phase === 'failed') return { tone, title: 'The model cannot be used', reasons };
  // Trouble during a start is what somebody has to look after.
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
function reasonsOf({ checks, status }: Health, cache: CacheStatus | undefined): string[] {
  const failing = Object.entries(checks).filter(
    ([, { ok, code }]) => !ok && (status !== 'starting' || (code !== undefined && code !== 'not_ready')),
  );
  const reasons = failing.map(([name, { detail = 'not well', code }]) => {
    // The files and their states stand below; what went wrong with them is the news.
    const news = name === 'cache' ? cache?.verification.last?.error?.message : undefined;
    return `${name}${code ? ` (${code})` : ''}: ${news ?? detail}`;
  });
  const retry = cache?.verification.retry;
  if (retry) reasons.push(`next attempt at ${new Date(retry).toLocaleTimeString('en-GB')}`);
  return reasons;
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
