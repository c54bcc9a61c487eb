// Drops instructions that shout or say too little.

import { ConfigError, definePlugin, drop, keep, readConfig } from "../sdk/javascript/index.js";
import { countTokens } from "../sdk/javascript/text.js";

export const { plugin, filter } = definePlugin({
  name: "{{name}}",
  version: "0.1.0",
  configSchema: {
    type: "object",
    additionalProperties: false,
    properties: {
      max_marks: {
        description: "The most exclamation marks, of either width, that are kept.",
        type: "integer", minimum: 0, default: 2,
      },
      min_tokens: {
        description: "The least tokens that are kept: a word, a number, or one Chinese character.",
        type: "integer", minimum: 0, default: 3,
      },
    },
  },

  configure(config) {
    const settings = readConfig(config, { max_marks: 2, min_tokens: 3 }, { whole: ["max_marks", "min_tokens"] });
    for (const [name, value] of Object.entries(settings)) {
      if (value < 0) throw new ConfigError(`${name}: expected 0 or more, found ${value}`);
    }
    return settings;
  },

  decide(record, settings) {
    // A text is cut out each time that it is asked for.
    const { instruction } = record;
    const tokens = countTokens(instruction);
    if (tokens < settings.min_tokens) return drop("too_short", { note: `${tokens} tokens`, score: tokens });
    const marks = instruction.match(/[!！]/g)?.length ?? 0;
    if (marks > settings.max_marks) return drop("shouts", { note: `${marks} exclamation marks`, score: marks });
    return keep();
  },
});
