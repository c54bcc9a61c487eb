// Lines for the daemon's log: capability `log`. Only for components whose world imports it.

/** How much a line matters. */
export type Level = "debug" | "info" | "warn" | "error";

/** Writes a line, of what `String` makes of the message. In a call a log takes 100 lines of 1000 bytes. */
export function log(level: Level, message: unknown): void;
