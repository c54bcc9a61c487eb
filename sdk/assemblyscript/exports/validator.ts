// The exports of validators.

import { plugin } from "../index";
import { failed, ok, take, writeNumber, writeOption, writeText } from "../memory";
import { Record } from "../record";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(2);

export function validate(config: usize, configLength: i32, text: usize, textLength: i32, ends: usize, endsLength: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const records = Record.all(text, ends, endsLength);
  plugin().problem = "";
  const answers = plugin().validateAll(records);
  if (plugin().problem.length > 0) return failed(plugin().problem);
  const list = take(48 * answers.length);
  for (let r = 0; r < answers.length; r++) {
    const outcome = answers[r];
    const at = list + 48 * r;
    store<u8>(at, outcome.tag);
    if (outcome.tag == 0) continue;
    writeText(at + 8, outcome.text);
    writeOption(at + 16, outcome.note);
    if (outcome.tag == 2) writeNumber(at + 32, outcome.score);
  }
  return ok(list, answers.length);
}
