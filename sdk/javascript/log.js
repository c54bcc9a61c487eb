// Lines for the daemon's log: capability `log`. Only for components whose world imports it.

import host from "autodidact:plugin/log@0.1.0";

/** Writes a line; the level is `debug`, `info`, `warn` or `error`. */
export function log(level, message) {
  host.log(level, String(message));
}
