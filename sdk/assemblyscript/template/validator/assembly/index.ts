// Takes blanks off answers, and drops those that are empty or too long.

import { Config, Outcome, Plugin, Record, register } from "../sdk/assemblyscript/index";
import { countTokens } from "../sdk/assemblyscript/text";
export * from "../sdk/assemblyscript/exports/validator";

const SCHEMA = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "trim": {
      "description": "Whether blanks around an answer are taken off.",
      "type": "boolean", "default": true
    },
    "max_tokens": {
      "description": "The most tokens of an answer: a word, a number, or one Chinese character.",
      "type": "integer", "minimum": 1, "default": 800
    }
  }
}`;

class Mine extends Plugin {
  trim: bool = true;
  maxTokens: i32 = 0;

  configure(config: Config): void {
    this.trim = config.flag("trim", true);
    this.maxTokens = config.integer("max_tokens", 800);
    if (this.maxTokens < 1) config.refuse("max_tokens: expected 1 or more");
  }

  validate(record: Record): Outcome {
    const output = record.output;
    // The ideographic blank is one too.
    const trimmed = output.trim();
    if (trimmed.length == 0) return Outcome.drop("empty_answer");
    const tokens = countTokens(trimmed);
    if (tokens > this.maxTokens) return Outcome.drop("too_long", tokens.toString() + " tokens", tokens);
    if (this.trim && trimmed.length != output.length) return Outcome.correct(trimmed, "blanks around it are gone");
    return Outcome.accept();
  }
}

register(new Mine("{{name}}", "0.1.0", SCHEMA));
