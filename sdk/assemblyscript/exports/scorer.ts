// The exports of scorers.

import { plugin } from "../index";
import { ok, take, writeNumber, writeOption } from "../memory";
import { FIELDS, Record } from "../record";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(3);

export function score(config: usize, configLength: i32, text: usize, textLength: i32, ends: usize, endsLength: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const records = endsLength / FIELDS;
  const list = take(32 * records);
  for (let r = 0; r < records; r++) {
    const scored = plugin().score(new Record(text, ends, FIELDS * r));
    const at = list + 32 * r;
    writeNumber(at, scored.value);
    writeOption(at + 16, scored.note);
  }
  return ok(list, records);
}
