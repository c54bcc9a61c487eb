// Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted.

import { ConfigError, definePlugin, readConfig, Score } from "../sdk/javascript/index.js";
import { countTokens } from "../sdk/javascript/text.js";

const FIELDS = ["instruction", "output"];

export const { plugin, scorer } = definePlugin({
  name: "{{name}}",
  version: "0.1.0",
  configSchema: {
    type: "object",
    additionalProperties: false,
    properties: {
      field: {
        description: "Which text is scored.",
        enum: FIELDS, default: "output",
      },
      target_tokens: {
        description: "The tokens that are worth 1: a word, a number, or one Chinese character.",
        type: "integer", minimum: 1, default: 60,
      },
    },
  },

  configure(config) {
    const settings = readConfig(config, { field: "output", target_tokens: 60 }, { whole: ["target_tokens"] });
    if (!FIELDS.includes(settings.field)) throw new ConfigError(`field: expected instruction or output, found ${settings.field}`);
    if (settings.target_tokens < 1) throw new ConfigError(`target_tokens: expected 1 or more, found ${settings.target_tokens}`);
    return settings;
  },

  score(record, settings) {
    const text = record[settings.field];
    if (text === "") return new Score(null, `there is no ${settings.field}`);
    const tokens = countTokens(text);
    return new Score(Math.min(tokens / settings.target_tokens, 1), `${tokens} tokens`);
  },
});
