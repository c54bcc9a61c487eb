// Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back.

import { ask, ConfigError, definePlugin, item, readConfig } from "../sdk/javascript/index.js";

const WORDS = {
  en: {
    opening: (count) => `Write ${count} new tasks for an assistant that can only read and write text.`,
    demand: "Each task can be finished with words alone, and says all that is needed to do it.",
    kind: (kind) => `They are of this kind: ${kind}.`,
    known: "These tasks are taken:",
    closing: (next) => `Go on with a numbered list from ${next}, a task on each line, and write nothing else.`,
  },
  zh: {
    opening: (count) => `请为一个只会读写文字的助手写 ${count} 个新任务。`,
    demand: "每个任务只用文字就能完成，并且把要做的事说清楚。",
    kind: (kind) => `类别：${kind}。`,
    known: "已经有的任务：",
    closing: (next) => `请接着第 ${next} 条写成编号列表，一行一个任务，不要写别的。`,
  },
};
// `3.`, `3)`, `３．`, `3、`, `（3）`; not the number of `3.5 metres`.
const NUMBERED = /^[\s*(（]*[0-9０-９]{1,3}(?:\.(?![0-9])|[)、．）:：])\**\s*(.+?)\s*$/u;
const SENTENCE_END = /[.!?。！？"”]$/u;

export const { plugin, template } = definePlugin({
  name: "{{name}}",
  version: "0.1.0",
  configSchema: {
    type: "object",
    additionalProperties: false,
    properties: {
      count: {
        description: "How many instructions a prompt asks for; 0 for as many as the workflow wants.",
        type: "integer", minimum: 0, maximum: 100, default: 0,
      },
      demand: {
        description: "A sentence about what new instructions must be like besides.",
        type: "string", default: "",
      },
    },
  },

  configure(config) {
    const settings = readConfig(config, { count: 0, demand: "" }, { whole: ["count"] });
    if (settings.count < 0 || settings.count > 100) throw new ConfigError(`count: expected 0 to 100, found ${settings.count}`);
    return settings;
  },

  render(request, settings) {
    const words = WORDS[request.language];
    if (!words) throw new ConfigError(`there are no words for ${request.language}; there are for en and zh`);
    const kind = [request.taskType.replaceAll("_", " "), request.topic].filter(Boolean).join(", ");
    const known = request.examples.map((example, i) => `${i + 1}. ${example.instruction.trim().replace(/\s+/g, " ")}`);
    return ask(
      [
        words.opening(settings.count || request.count),
        words.demand,
        ...(settings.demand ? [settings.demand] : []),
        ...(kind ? [words.kind(kind)] : []),
        "",
        words.known,
        ...known,
        "",
        words.closing(request.examples.length + 1),
      ].join("\n"),
    );
  },

  parse(completion) {
    const found = completion.text.split(/\r?\n/).map((line) => NUMBERED.exec(line)?.[1]);
    const items = found.filter(Boolean);
    // The last one of a text that was cut counts where it is whole.
    if (completion.isCut && !SENTENCE_END.test(items.at(-1) ?? "")) items.pop();
    return items.map((instruction) => item(instruction));
  },
});
