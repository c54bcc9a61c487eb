// The exports of filters.

import { plugin } from "../index";
import { failed, ok, take, writeNumber, writeOption } from "../memory";
import { Record } from "../record";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(0);

export function filter(config: usize, configLength: i32, text: usize, textLength: i32, ends: usize, endsLength: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const records = Record.all(text, ends, endsLength);
  plugin().problem = "";
  const answers = plugin().decideAll(records);
  if (plugin().problem.length > 0) return failed(plugin().problem);
  const list = take(40 * answers.length);
  for (let r = 0; r < answers.length; r++) {
    const decision = answers[r];
    const at = list + 40 * r;
    writeOption(at, decision.dropReason);
    writeOption(at + 12, decision.note);
    writeNumber(at + 24, decision.score);
  }
  return ok(list, answers.length);
}
