// Files that a person gave the plugin to read: capability `data`. Only for components whose world imports it.

/** Lists the names of the files, sorted. */
export const files: () => string[];

/** Reads a whole file, as its bytes; throws an `Error` where it is not granted, or there is no such file. */
export const read: (name: string) => Uint8Array;
