import { join } from 'node:path';
import { check, type Trial } from '../campaign/trial.js';
import type { Origin } from '../test/support/origin.js';
import { makeModel, type SmallModel, serve } from './crash-scene.js';
import { survey } from './volume.js';

/** Bytes of the largest file. */
export const SIZE = 400_000;

/** What `pull --json` prints. */
export interface Pulled {
  readonly whole: boolean;
  readonly bytes_received: number;
  readonly sources: readonly string[];
  readonly failures: readonly {
    readonly source: string;
    readonly path: string;
    readonly code: string;
    readonly message: string;
  }[];
}

/** A hub that misbehaves, a mirror that has everything, and a command that fills a volume from them. */
export class Supply {
  readonly trial: Trial;
  readonly model: SmallModel;
  readonly hub: Origin;
  readonly mirror: Origin;
  /** The hub's path of the largest file. */
  readonly path: string;

  private constructor(trial: Trial, model: SmallModel, hub: Origin, mirror: Origin) {
    this.trial = trial;
    this.model = model;
    this.hub = hub;
    this.mirror = mirror;
    this.path = `/${model.manifest.repo}/resolve/${model.manifest.revision}/onnx/model.onnx`;
  }

  static async make(trial: Trial): Promise<Supply> {
    const model = await makeModel(trial, SIZE);
    const [hub, mirror] = await Promise.all([trial.sandbox.origin(), trial.sandbox.origin()]);
    serve(hub, model);
    serve(mirror, model);
    return new Supply(trial, model, hub, mirror);
  }

  async pull(sources: string, further: Record<string, string> = {}): Promise<{ report: Pulled; ms: number }> {
    const volume = join(await this.trial.sandbox.folder(), 'volume');
    const env = {
      MODEL_MANIFEST: this.model.manifestFile,
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: sources,
      HF_ENDPOINT: this.hub.url,
      HF_HUB_OFFLINE: 'false',
      MODEL_MIRRORS: this.mirror.url,
      ...further,
    };
    const since = performance.now();
    const { stdout, stderr } = await this.trial.sandbox.run(['pull', '--json', '--quiet'], env);
    const ms = performance.now() - since;
    if (stdout === '') throw new Error(`no report: ${stderr}`);
    const report = JSON.parse(stdout) as Pulled;
    const after = await survey(volume, this.model.manifest.files);
    check(after.torn.length === 0, 'a wrong blob was published');
    this.trial.left(after.strayBytes);
    return { report, ms };
  }
}
