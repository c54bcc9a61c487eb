// The exports of templates.

import { plugin } from "../index";
import { failed, ok, take, writeQuestion, writeText, writeTexts } from "../memory";
import { Completion, Rendered, Request } from "../prompts";
import { configured, kinds } from "./plugin";

export { cabi_realloc, checkConfig, describe, postReturn } from "./plugin";

kinds.push(1);

export function render(config: usize, configLength: i32, requests: usize, length: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const list = take(20 * length);
  for (let i = 0; i < length; i++) {
    plugin().problem = "";
    const rendered = plugin().render(new Request(requests + 48 * i));
    if (plugin().problem.length > 0) return failed(plugin().problem);
    writeRendered(list + 20 * i, rendered);
  }
  return ok(list, length);
}

function writeRendered(at: usize, rendered: Rendered): void {
  if (rendered.isChat) {
    writeQuestion(at, rendered.text);
  } else {
    writeText(at + 4, rendered.text);
  }
  writeTexts(at + 12, rendered.stop);
}

export function parse(config: usize, configLength: i32, completions: usize, length: i32): usize {
  const error = configured(config, configLength);
  if (error != 0) return error;
  const list = take(8 * length);
  for (let i = 0; i < length; i++) {
    plugin().problem = "";
    const items = plugin().parse(new Completion(completions + 64 * i));
    if (plugin().problem.length > 0) return failed(plugin().problem);
    const read = take(24 * items.length);
    for (let j = 0; j < items.length; j++) {
      writeText(read + 24 * j, items[j].instruction);
      writeText(read + 24 * j + 8, items[j].taskType);
      writeText(read + 24 * j + 16, items[j].topic);
    }
    store<usize>(list + 8 * i, read);
    store<usize>(list + 8 * i, items.length, 4);
  }
  return ok(list, length);
}
