/** A file that an origin gave, hashed on its way. */
export interface OriginFile {
  /** Its path in the model. */
  readonly path: string;
  readonly size: number;
  /** Computed here, never believed. */
  readonly sha256: string;
  /** Where its bytes are on this machine. */
  readonly location: string;
}

/** Where the files of a model that nobody has pinned yet are taken from. */
export interface PinOrigin {
  /** For people. */
  readonly name: string;
  /** The full commit hash. */
  readonly revision: string;
  /** As the origin states it. */
  readonly license: string | undefined;
  /** Every path it has, where it can say so. */
  readonly paths: readonly string[] | undefined;
  /**
   * Takes a file; `undefined` when the origin has no such file.
   * @throws AppError `source_…`
   */
  take(path: string): Promise<OriginFile | undefined>;
  close(): Promise<void>;
}
