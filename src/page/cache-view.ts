import { askWithKey, wordsOf } from './api.js';
import { byId, el, fill, setText, whenChanged } from './dom.js';
import { fact } from './fact.js';
import { bytes, clock, milliseconds, plural, span } from './format.js';
import type { CacheFile, CacheStatus, VerifyReport } from './wire.js';

const TONES: Readonly<Record<string, string>> = {
  verified: 'ok',
  corrupt: 'bad',
  missing: 'bad',
  downloading: 'busy',
  repairing: 'warn',
  downloaded: 'ok',
  repaired: 'ok',
  quarantined: 'warn',
  source_failed: 'warn',
  volume: 'warn',
  unstable: 'bad',
  failed: 'bad',
};

const EVENTS_SHOWN = 6;

/** Shows the cache as it is now. */
export function showCache(cache: CacheStatus): void {
  showFiles(cache.files);
  showTimeline(cache.verification);
  showFacts(cache);
  showEvents(cache.events);
}

const showFiles = whenChanged((files: CacheStatus['files']) => {
  fill(
    byId('shelf'),
    ...files.map((file) =>
      el(
        'div',
        {
          title: `${file.path}: ${file.state}`,
          'data-tone': TONES[file.state],
          // Files differ by a factor of 200,000; the root keeps the smallest one visible.
          '--weight': Math.cbrt(file.size),
        },
        el('i', { '--share': shareOf(file) }),
      ),
    ),
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
    el('span', { class: 'tag', 'data-tone': TONES[file.state] }, file.state),
    el(
      'span',
      { class: 'quiet num' },
      coming ? `${bytes(file.bytes)} so far` : [since, file.source].filter(Boolean).join(' · '),
    ),
    file.reason !== null && el('span', { class: 'quiet reason' }, file.reason),
  );
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

function lastText(last: VerifyReport | null, now: number): string {
  if (!last) return 'Not verified yet';
  const ago = span(now - Date.parse(last.started_at));
  return `Last verified ${ago} ago (${last.reason}, ${milliseconds(last.duration_ms)}): ${outcomeOf(last)}`;
}

function outcomeOf({ whole, corrupt, missing, fetched, error }: VerifyReport): string {
  const found = [
    corrupt.length > 0 && `${plural(corrupt.length, 'file')} corrupt`,
    missing.length > 0 && `${plural(missing.length, 'file')} missing`,
    fetched.length > 0 && `${plural(fetched.length, 'file')} fetched`,
    error?.message,
  ].filter((each) => typeof each === 'string');
  return [whole ? 'whole' : 'not whole', ...found].join(', ');
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
    fact('Repairs', `${counters.repairs} of ${plural(counters.corruptions, 'corruption')}`),
    fact('Downloaded', `${plural(counters.downloads, 'file')}, ${bytes(counters.downloaded_bytes)}`),
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
    el('span', {}, path ? `${path}: ${message}` : message),
  );
}

/** Makes the button verify. */
export function enableVerify(after: () => void): void {
  const button = byId<HTMLButtonElement>('verify');
  const said = byId('verify-result');
  button.addEventListener('click', async () => {
    button.disabled = true;
    setText(said, 'Verifying…');
    try {
      const { body } = await askWithKey<VerifyReport>('cache/verify', { method: 'POST', key: 'admin' });
      setText(said, `Verified in ${milliseconds(body.duration_ms)}: ${outcomeOf(body)}.`);
    } catch (error) {
      setText(said, `Not verified: ${wordsOf(error)}`);
    } finally {
      button.disabled = false;
    }
    after();
  });
}
