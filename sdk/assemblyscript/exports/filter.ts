// The exports of filters.

import { plugin } from "../index";
import { ok, take, writeNumber, writeOption } from "../memory";
import { FIELDS, Record } from "../record";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(0);

export function filter(config: usize, configLength: i32, text: usize, textLength: i32, ends: usize, endsLength: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const records = endsLength / FIELDS;
  const list = take(40 * records);
  for (let r = 0; r < records; r++) {
    const decision = plugin().decide(new Record(text, ends, FIELDS * r));
    const at = list + 40 * r;
    writeOption(at, decision.dropReason);
    writeOption(at + 12, decision.note);
    writeNumber(at + 24, decision.score);
  }
  return ok(list, records);
}
