// The exports of scorers.

import { plugin } from "../index";
import { failed, ok, take, writeNumber, writeOption } from "../memory";
import { Record } from "../record";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(3);

export function score(config: usize, configLength: i32, text: usize, textLength: i32, ends: usize, endsLength: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const records = Record.all(text, ends, endsLength);
  plugin().problem = "";
  const answers = plugin().scoreAll(records);
  if (plugin().problem.length > 0) return failed(plugin().problem);
  const list = take(32 * answers.length);
  for (let r = 0; r < answers.length; r++) {
    const scored = answers[r];
    const at = list + 32 * r;
    writeNumber(at, scored.value);
    writeOption(at + 16, scored.note);
  }
  return ok(list, answers.length);
}
