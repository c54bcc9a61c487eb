// The exports of every plugin.

import { plugin } from "../index";
import { Config } from "../config";
import { failed, freeAll, ok, take, writeText } from "../memory";

/** The kinds whose exports are there. */
export const kinds: u8[] = [];

/** The configuration that was read last, so that one is read once and not for every batch. */
let known: ArrayBuffer = new ArrayBuffer(0);

/** Gives a result with an error, or 0 where the plugin has the settings of this configuration. */
export function configured(config: usize, length: i32): usize {
  if (length > 0 && length == known.byteLength && memory.compare(changetype<usize>(known), config, length) == 0) return 0;
  known = new ArrayBuffer(0);
  const read = new Config(String.UTF8.decodeUnsafe(config, length));
  plugin().configure(read);
  const problem = read.problem(plugin().name);
  if (problem.length > 0) return failed(problem);
  known = new ArrayBuffer(length);
  memory.copy(changetype<usize>(known), config, length);
  return 0;
}

export function describe(): usize {
  const described = take(40);
  writeText(described, plugin().name);
  writeText(described + 8, plugin().version);
  writeBytes(described + 16, kinds);
  writeText(described + 24, plugin().configSchema);
  writeBytes(described + 32, plugin().capabilities);
  return described;
}

function writeBytes(at: usize, bytes: u8[]): void {
  store<usize>(at, bytes.dataStart);
  store<usize>(at, bytes.length, 4);
}

export function checkConfig(config: usize, length: i32): usize {
  const error = configured(config, length);
  return error != 0 ? error : ok(0, 0);
}

export function cabi_realloc(old: usize, oldSize: usize, alignment: usize, size: usize): usize {
  const taken = take(size);
  memory.copy(taken, old, min(oldSize, size));
  return taken;
}

export function postReturn(result: usize): void {
  freeAll();
}
