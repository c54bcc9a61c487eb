// The exports of templates.

import { plugin } from "../index";
import { failed, ok, take, writeText } from "../memory";
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
  store<u8>(at, u8(rendered.isChat));
  if (rendered.isChat) {
    // One turn, of the role `user`.
    const turn = take(12);
    store<u8>(turn, 1);
    writeText(turn + 4, rendered.text);
    store<usize>(at, turn, 4);
    store<usize>(at, 1, 8);
  } else {
    writeText(at + 4, rendered.text);
  }
  const stop = take(8 * rendered.stop.length);
  for (let i = 0; i < rendered.stop.length; i++) writeText(stop + 8 * i, rendered.stop[i]);
  store<usize>(at, stop, 12);
  store<usize>(at, rendered.stop.length, 16);
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
