// Takes blanks off answers, and drops those that are empty or too long.

import { accept, ConfigError, correct, definePlugin, drop, readConfig } from "../sdk/javascript/index.js";
import { countTokens } from "../sdk/javascript/text.js";

export const { plugin, validator } = definePlugin({
  name: "{{name}}",
  version: "0.1.0",
  configSchema: {
    type: "object",
    additionalProperties: false,
    properties: {
      trim: {
        description: "Whether blanks around an answer are taken off.",
        type: "boolean", default: true,
      },
      max_tokens: {
        description: "The most tokens of an answer: a word, a number, or one Chinese character.",
        type: "integer", minimum: 1, default: 800,
      },
    },
  },

  configure(config) {
    const settings = readConfig(config, { trim: true, max_tokens: 800 }, { whole: ["max_tokens"] });
    if (settings.max_tokens < 1) throw new ConfigError(`max_tokens: expected 1 or more, found ${settings.max_tokens}`);
    return settings;
  },

  validate(record, settings) {
    const { output } = record;
    // The ideographic blank is one too.
    const trimmed = output.trim();
    if (trimmed === "") return drop("empty_answer");
    const tokens = countTokens(trimmed);
    if (tokens > settings.max_tokens) return drop("too_long", { note: `${tokens} tokens`, score: tokens });
    if (settings.trim && trimmed !== output) return correct(trimmed, "blanks around it are gone");
    return accept();
  },
});
