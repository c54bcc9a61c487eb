// Files that a person gave the plugin to read: capability `data`. Only for components whose world imports it.

import host from "autodidact:plugin/data@0.1.0";

/** Lists the names of the files, sorted. */
export const files = () => host.files();

/** Reads a whole file as a Uint8Array; throws an `Error` where it is not granted, or there is no such file. */
export const read = (name) => host.read(name);
