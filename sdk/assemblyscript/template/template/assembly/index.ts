// Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back.

import { Completion, Config, Item, Plugin, register, Rendered, Request } from "../sdk/assemblyscript/index";
import { foldWidth } from "../sdk/assemblyscript/text";
export * from "../sdk/assemblyscript/exports/template";

const SCHEMA = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "count": {
      "description": "How many instructions a prompt asks for; 0 for as many as the workflow wants.",
      "type": "integer", "minimum": 0, "maximum": 100, "default": 0
    },
    "demand": {
      "description": "A sentence about what new instructions must be like besides.",
      "type": "string", "default": ""
    }
  }
}`;

/** What a prompt says in a language. */
class Words {
  constructor(public opening: string, public demand: string, public kind: string, public known: string, public closing: string) {}
}

const ENGLISH = new Words(
  "Write {} new tasks for an assistant that can only read and write text.",
  "Each task can be finished with words alone, and says all that is needed to do it.",
  "They are of this kind: {}.",
  "These tasks are taken:",
  "Go on with a numbered list from {}, a task on each line, and write nothing else.",
);
const CHINESE = new Words(
  "请为一个只会读写文字的助手写 {} 个新任务。",
  "每个任务只用文字就能完成，并且把要做的事说清楚。",
  "类别：{}。",
  "已经有的任务：",
  "请接着第 {} 条写成编号列表，一行一个任务，不要写别的。",
);

class Mine extends Plugin {
  count: i32 = 0;
  demand: string = "";

  configure(config: Config): void {
    this.count = config.integer("count", 0);
    this.demand = config.text("demand", "");
    if (this.count < 0 || this.count > 100) config.refuse("count: expected 0 to 100");
  }

  render(request: Request): Rendered {
    const language = request.language;
    if (language != "en" && language != "zh") this.problem = "there are no words for " + language + "; there are for en and zh";
    const words = language == "zh" ? CHINESE : ENGLISH;
    const count = this.count > 0 ? this.count.toString() : request.count.toString();
    const lines = [words.opening.replace("{}", count), words.demand];
    if (this.demand.length > 0) lines.push(this.demand);
    const taskType = request.taskType.replaceAll("_", " ");
    const gap = taskType.length > 0 && request.topic.length > 0 ? ", " : "";
    const kind = taskType + gap + request.topic;
    if (kind.length > 0) lines.push(words.kind.replace("{}", kind));
    lines.push("\n" + words.known);
    const examples = request.examples;
    for (let i = 0; i < examples.length; i++) lines.push((i + 1).toString() + ". " + onOneLine(examples[i].instruction));
    lines.push("\n" + words.closing.replace("{}", (examples.length + 1).toString()));
    return Rendered.ask(lines.join("\n"));
  }

  parse(completion: Completion): Item[] {
    const items: Item[] = [];
    const lines = completion.text.split("\n");
    for (let i = 0; i < lines.length; i++) {
      const item = afterNumber(lines[i]);
      if (item.length > 0) items.push(new Item(item));
    }
    // The last one of a text that was cut counts where it is whole.
    if (completion.isCut && items.length > 0 && !endsSentence(items[items.length - 1].instruction)) items.pop();
    return items;
  }
}

/** Puts a text on one line. It makes no object for each word, since none is freed before the end of the call. */
function onOneLine(text: string): string {
  const codes = new StaticArray<u16>(text.length);
  let length = 0;
  let isGap = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code == 0xa0 || code == 0x3000) {
      isGap = length > 0;
      continue;
    }
    if (isGap) codes[length++] = 0x20;
    codes[length++] = <u16>code;
    isGap = false;
  }
  return String.UTF16.decodeUnsafe(changetype<usize>(codes), length << 1);
}

function isDigit(code: i32): bool {
  const narrow = foldWidth(code);
  return narrow >= 0x30 && narrow <= 0x39;
}

/** Takes a number off a line: `3.`, `3)`, `３．`, `3、`, `（3）`; not that of `3.5 metres`. Gives an empty text where there is none. */
function afterNumber(line: string): string {
  let start = 0;
  while (start < line.length && " \t*(（\u3000".includes(line.charAt(start))) start++;
  let at = start;
  while (at < line.length && isDigit(line.charCodeAt(at))) at++;
  const isMark = at < line.length && ".)、．）:：".includes(line.charAt(at));
  const isDecimal = line.charAt(at) == "." && at + 1 < line.length && isDigit(line.charCodeAt(at + 1));
  if (at == start || at - start > 3 || !isMark || isDecimal) return "";
  at++;
  while (line.charAt(at) == "*") at++;
  return line.substring(at).trim();
}

function endsSentence(text: string): bool {
  return ".!?。！？\"”".includes(text.charAt(text.length - 1));
}

register(new Mine("{{name}}", "0.1.0", SCHEMA));
