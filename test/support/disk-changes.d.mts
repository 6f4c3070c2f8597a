/** A change of a file system that is about to be made. */
export type DiskChange =
  | {
      readonly op: 'create' | 'sync' | 'chmod' | 'remove' | 'mkdir' | 'sync-directory';
      readonly path: string;
    }
  | { readonly op: 'write'; readonly path: string; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly op: 'truncate'; readonly path: string; readonly size: number }
  | { readonly op: 'rename' | 'link'; readonly path: string; readonly to: string };

export declare function observeDisk(root: string, observer: (change: DiskChange) => void): () => void;
