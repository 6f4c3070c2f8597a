import { setTimeout as sleep } from 'node:timers/promises';
import { Fleet, type FleetOptions, put, routesCheck } from './fleet.js';
import { PREVIOUS, PREVIOUS_TAG } from './kubelet.js';
import { messageOf, report, say, until } from './report.js';
import { idleCores, podStart, recordTrace, TRACED } from './trace.js';

const ROUTES = (extra = ''): string =>
  `routes:\n  - {name: food, utterances: [I am hungry, bring me a pizza${extra}]}\n  - {name: sleep, utterances: [good night, I am tired]}\n`;

/** Values of every release here. */
export const COMMON = {
  existingSecret: 'keys',
  // Two cores are the whole fleet: a replica waits for them longer than it would on nodes of its own.
  settings: { CLASSIFY_METHOD: 'nearest', MAX_QUEUE_MS: 30_000 },
  routes: { mode: 'configMap', file: ROUTES() },
};

async function started(
  release: string,
  values: object,
  count: number,
  options: FleetOptions,
): Promise<Fleet> {
  const fleet = new Fleet(release, options);
  await fleet.helm(values);
  await fleet.rolledOut();
  await fleet.settled(count);
  fleet.startLoad();
  return fleet;
}

async function removed(fleet: Fleet, { api, namespace, kubelet }: FleetOptions): Promise<void> {
  await fleet.endLoad();
  await api.helm(['-n', namespace, 'uninstall', fleet.release]);
  await until('no pod is left', () => kubelet.pods(namespace).length === 0);
}

/** A rolling update, a kill and a drain. */
export async function rollouts(options: FleetOptions): Promise<void> {
  const fleet = await started('rolling', COMMON, 2, options);
  await fleet.under('steady load', async () => {
    await sleep(5_000);
    return `${fleet.ready.length} replicas`;
  });
  await fleet.under('rolling update to another image tag', async () => {
    await fleet.helm({ ...COMMON, image: { tag: 'next' } });
    await fleet.rolledOut();
    await fleet.settled(2);
    const images = new Set(fleet.replicas.map(({ pod }) => pod.spec.containers[0].image));
    return [...images].join();
  });
  const [victim] = fleet.replicas;
  if (!victim) throw new Error('no replica');
  await fleet.under('a pod is killed', async () => {
    const { pid } = victim;
    victim.signal('SIGKILL');
    await until('it is started again', () => victim.pid !== pid);
    await until('it is out of the Service', () => fleet.ready.length === 1);
    await fleet.settled(2);
    return `${victim.name} came back`;
  }, [victim.name]);
  await fleet.kubectl('scale', 'deployment/rolling-ai-router', '--replicas=4');
  await fleet.settled(4);
  await fleet.under('a node is drained against the budget', async () => {
    const node = victim.pod.spec.nodeName ?? '';
    let least = 4;
    const unfollow = options.endpoints.onChange(() => {
      least = Math.min(least, fleet.ready.length);
    });
    const { stdout, stderr } = await options.api.run('kubectl', [
      'drain',
      node,
      '--delete-emptydir-data',
      '--timeout=300s',
    ]);
    await fleet.settled(4);
    unfollow();
    await fleet.kubectl('uncordon', node);
    const evicted = stdout.match(/ evicted$/gm)?.length ?? 0;
    const refused = stderr.match(/disruption budget/g)?.length ?? 0;
    return `${evicted} of 4 pods evicted, ${refused} evictions refused by the budget, ${least} ready at least`;
  });
  await removed(fleet, options);
}

/** Effect of a good and of a bad edit of the ConfigMap, and of a change that the API server refuses. */
export async function edits(options: FleetOptions, delayMs: number): Promise<void> {
  const { kubelet } = options;
  const edited = (file: string): object => ({ ...COMMON, routes: { mode: 'configMap', file } });
  const fleet = await started('edited', COMMON, 2, options);
  const uids = (): string => fleet.replicas.map(({ pod }) => pod.metadata.uid).join();
  const pods = uids();
  await fleet.under('an edit of the ConfigMap, without a rollout', async () => {
    const before = await fleet.digests();
    await fleet.helm(edited(ROUTES(', a burger please')));
    await fleet.agree('replicas agree after the ConfigMap changed', before, () => kubelet.laidAt);
    return `the ConfigMap was laid out after ${delayMs} ms`;
  });
  await fleet.under('a ConfigMap that cannot be parsed, and its repair', async () => {
    const before = await fleet.digests();
    await fleet.helm(edited('routes: [{name: food'));
    const detail = await until('both replicas say so', async () => {
      const checks = await Promise.all(fleet.ready.map(routesCheck));
      return checks.every(({ ok }) => !ok) && checks[0]?.detail;
    });
    const after = await fleet.digests();
    if ([...after].join() !== [...before].join()) throw new Error(`digest changed to ${[...after].join()}`);
    await fleet.helm(edited(ROUTES(', soup')));
    await fleet.agree('replicas agree after the repair', before, () => kubelet.laidAt);
    return `the last good routes went on; "${detail}"`;
  });
  await fleet.under('an upgrade that the API server refuses', async () => {
    const resources = { requests: { memory: '1Gi' }, limits: { memory: '512Mi' } };
    const answer = await fleet.helm({ ...edited(ROUTES(', soup')), resources }).then(
      () => 'accepted',
      (error: unknown) => messageOf(error),
    );
    if (!/memory limit/.test(answer)) throw new Error(answer);
    return answer.replace(/^.*?(Invalid value)/s, '$1').trim();
  });
  await fleet.under('an upgrade for which the API server admits no pod', async () => {
    await fleet.kubectl('create', 'quota', 'full', '--hard=pods=2');
    await until('the quota counts', async () =>
      /2\/2|pods: 2/.test(await fleet.kubectl('get', 'quota', 'full')),
    );
    await fleet.helm({ ...edited(ROUTES(', soup')), image: { tag: 'next' } });
    const reason = await until('the refusal is an event', async () => {
      const events = await fleet.kubectl(
        'get',
        'events',
        '--field-selector=reason=FailedCreate',
        '-o=jsonpath={.items[0].message}',
      );
      return events !== '' && events;
    });
    await sleep(3_000);
    const kept = uids() === pods;
    await fleet.kubectl('delete', 'quota', 'full');
    await fleet.rolledOut();
    await fleet.settled(2);
    if (!kept) throw new Error('replicas went away');
    return `${reason.replace(/^.*forbidden: /, '')}; the old replicas served until the quota was gone`;
  });
  await removed(fleet, options);
}

/** The HPA, fed with the CPU time that the replicas use. */
export async function autoscaling(options: FleetOptions, peak: number): Promise<void> {
  const values = {
    ...COMMON,
    // Kubernetes waits five minutes before it takes replicas away; here it does not.
    hpa: { enabled: true, min: 2, max: 6, behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } },
    resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
  };
  const { api } = options;
  const rest = 2;
  const fleet = await started('scaled', COMMON, 2, { ...options, perSecond: rest });
  await fleet.under('an HPA is enabled later', async () => {
    let least = 2;
    const unfollow = options.endpoints.onChange(() => {
      least = Math.min(least, fleet.ready.length);
    });
    await fleet.helm(values);
    await fleet.rolledOut();
    await fleet.settled(2);
    unfollow();
    return `${least} ready at least`;
  });
  interface Hpa {
    readonly status?: {
      readonly currentMetrics?: readonly {
        readonly resource?: { readonly current: { readonly averageUtilization?: number } };
      }[];
    };
  }
  const utilization = async (): Promise<number | undefined> => {
    const path = `/apis/autoscaling/v2/namespaces/${options.namespace}/horizontalpodautoscalers/scaled-ai-router`;
    const { status } = await api.call<Hpa>('GET', path);
    return status?.currentMetrics?.[0]?.resource?.current.averageUtilization;
  };
  await until('the HPA has metrics', utilization);
  await fleet.under('the HPA scales 2 → 6 → 2', async () => {
    fleet.rate(peak);
    await until('6 replicas are ready', () => fleet.ready.length === 6, 300_000);
    const high = await utilization();
    fleet.rate(rest);
    await until(
      '2 replicas are left',
      () => fleet.ready.length === 2 && fleet.replicas.length === 2,
      300_000,
    );
    const events = await fleet.kubectl(
      'get',
      'events',
      '--field-selector=reason=SuccessfulRescale',
      '-o=jsonpath={range .items[*]}{.message}{"\\n"}{end}',
    );
    const sizes = [...events.matchAll(/New size: (\d+)/g)].map(([, size]) => size);
    if (sizes.length === 0) throw new Error('the HPA rescaled nothing');
    return `${peak} requests/s, then ${rest}; the HPA's new sizes: ${sizes.join(', ')}; ${high} % of the CPU request with 6`;
  });
  await removed(fleet, options);
  await traced(options);
}

/** How a pod starts, and what the HPA does under a load of steps: `FLEET_TRACE` names the file that is to hold it. */
async function traced(options: FleetOptions): Promise<void> {
  const fleet = await started('traced', COMMON, 2, { ...options, perSecond: 1 });
  await fleet.endLoad();
  const starts = [];
  for (const replicas of [3, 4, 5, 6, 7, 8]) starts.push(await podStart(fleet, options, replicas));
  const measured = { starts, idleCores: await idleCores(fleet) };
  report('a pod starts', true, JSON.stringify(measured));
  await fleet.kubectl('scale', 'deployment/traced-ai-router', '--replicas=2');
  await fleet.settled(2);
  fleet.startLoad();
  await fleet.helm({ ...COMMON, ...TRACED });
  await fleet.rolledOut();
  await fleet.settled(2);
  await fleet.under('the HPA under a load of steps', async () => {
    const { seen } = await recordTrace(fleet, options, measured, process.env.FLEET_TRACE);
    const sizes = seen.filter(({ wanted }, index) => wanted !== seen[index - 1]?.wanted);
    return sizes.map(({ at, wanted }) => `${wanted} at ${Math.round(at / 1_000)} s`).join(', ');
  });
  await removed(fleet, options);
}

/** A leader that feeds and leads four replicas: a change, a hang, and its death while replicas boot. */
export async function followers(options: FleetOptions, key: string): Promise<void> {
  const values = {
    ...COMMON,
    replicas: 4,
    model: { mode: 'feeder' },
    routes: { mode: 'leader', editable: true, file: ROUTES() },
  };
  const fleet = await started('led', values, 4, options);
  await fleet.under("a leader's change is followed by four replicas", async () => {
    const before = await fleet.digests();
    const { status } = await put(fleet.leader, key, 'flight');
    const changed = performance.now();
    await fleet.agree('replicas agree after the leader changed', before, () => changed);
    const [follower] = fleet.ready;
    const refused = follower && (await put(follower, key, 'train'));
    return `the leader answered ${status}, a follower ${refused?.status} (${refused?.detail})`;
  });
  await fleet.under('the leader hangs, and comes back', async () => {
    const before = await fleet.digests();
    fleet.leader.signal('SIGSTOP');
    const said = await until('every follower says so', async () => {
      const checks = await Promise.all(fleet.ready.map(routesCheck));
      return checks.every(({ ok }) => !ok) && checks[0];
    });
    const during = await fleet.digests();
    fleet.leader.signal('SIGCONT');
    await until('every follower is well', async () =>
      (await Promise.all(fleet.ready.map(routesCheck))).every(({ ok }) => ok),
    );
    if ([...during].join() !== [...before].join()) throw new Error('digest changed');
    return `"${said.detail}", confirmed ${said.age_s} s ago; the last good routes went on`;
  });
  await fleet.under('the feeder dies while replicas boot', async () => {
    const before = await fleet.digests();
    await fleet.kubectl('scale', 'deployment/led-ai-router', '--replicas=6');
    await until(
      'two replicas boot',
      () => fleet.replicas.filter(({ pid }) => pid !== undefined).length === 6,
    );
    const ready = fleet.ready.length;
    fleet.leader.signal('SIGKILL');
    await fleet.settled(6);
    await until('one digest', async () => (await fleet.digests()).size === 1);
    const after = await fleet.digests();
    report('the change before it is kept', [...after].join() === [...before].join(), [...after].join());
    return `${ready} replicas were ready when it died, 6 in the end`;
  });
  await removed(fleet, options);
}

/** A fleet of an older version is upgraded: its leader first, which is the wrong order, and then all; and rolled back. */
export async function versions(options: FleetOptions, key: string): Promise<void> {
  if (PREVIOUS === undefined) {
    say('SKIPPED versions: FLEET_PREVIOUS names no built checkout of an older version');
    return;
  }
  const values = {
    ...COMMON,
    image: { tag: PREVIOUS_TAG },
    routes: { mode: 'leader', editable: true, file: ROUTES() },
  };
  const fleet = await started('aged', values, 2, options);
  const leaderIs = async (tag: string): Promise<void> => {
    await fleet.kubectl('rollout', 'status', 'statefulset/aged-ai-router-leader', '--timeout=300s');
    const { image } = fleet.leader.pod.spec.containers[0];
    if (!image.endsWith(`:${tag}`)) throw new Error(`the leader is ${image}`);
  };
  /** A change at the leader, which either reaches a replica, or is refused by it with the last good set kept. */
  const changed = async (name: string, mayRefuse = false): Promise<string> => {
    const before = await fleet.digests();
    const { status, detail } = await put(fleet.leader, key, name);
    const at = performance.now();
    if (status >= 300) throw new Error(`the leader answered ${status}: ${detail}`);
    if (!mayRefuse) {
      await fleet.agree(`replicas agree after the change ${name}`, before, () => at);
      return `${fleet.ready.length} replicas`;
    }
    const checks = await until('each replica has the change, or says why not', async () => {
      const now = await Promise.all(fleet.ready.map(routesCheck));
      const said = ({ ok, digest = '', detail = '' }: (typeof now)[number]): boolean =>
        ok ? !before.has(digest) : before.has(digest) && /unknown field/.test(detail);
      return now.every(said) && now;
    });
    const refused = checks.filter(({ ok }) => !ok);
    return `${refused.length} of ${checks.length} older replicas keep the last good set: "${refused[0]?.detail}"`;
  };
  await fleet.under('the leader alone becomes newer, and a change', async () => {
    await fleet.kubectl('set', 'image', 'statefulset/aged-ai-router-leader', '*=ai-router:next');
    await leaderIs('next');
    return changed('early', true);
  });
  await fleet.under('the replicas follow, and a change', async () => {
    await fleet.helm({ ...values, image: { tag: 'next' } });
    await fleet.rolledOut();
    await fleet.settled(2);
    await until('one digest', async () => (await fleet.digests()).size === 1);
    return changed('flight');
  });
  await fleet.under('all are rolled back at once, and a change', async () => {
    await options.api.helm(['-n', options.namespace, 'rollback', 'aged', '1']);
    await fleet.rolledOut();
    await leaderIs(PREVIOUS_TAG);
    await fleet.settled(2);
    return changed('train');
  });
  await fleet.under('all are upgraded at once, and a change', async () => {
    await fleet.helm({ ...values, image: { tag: 'next' } });
    await fleet.rolledOut();
    await leaderIs('next');
    await fleet.settled(2);
    return changed('hotel');
  });
  await removed(fleet, options);
}
