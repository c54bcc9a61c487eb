// What a person may grant; name what is used in the plugin's `capabilities`. A component imports only what it calls.

/** What a plugin asks to use. */
export enum Capability { log, generate, embed, score, data }

export enum Level { debug, info, warn, error }

@external("autodidact:plugin/log@0.1.0", "log")
declare function hostLog(level: u32, message: usize, length: usize): void;

/** Writes a line into the daemon's log. */
export function log(level: Level, message: string): void {
  const bytes = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}
