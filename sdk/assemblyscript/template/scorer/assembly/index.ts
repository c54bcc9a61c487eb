// Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted.

import { Config, Plugin, Record, register, Score } from "../sdk/assemblyscript/index";
import { countTokens } from "../sdk/assemblyscript/text";
export * from "../sdk/assemblyscript/exports/scorer";

const SCHEMA = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "field": {
      "description": "Which text is scored.",
      "enum": ["instruction", "output"], "default": "output"
    },
    "target_tokens": {
      "description": "The tokens that are worth 1: a word, a number, or one Chinese character.",
      "type": "integer", "minimum": 1, "default": 60
    }
  }
}`;

class Mine extends Plugin {
  field: string = "";
  targetTokens: i32 = 1;

  configure(config: Config): void {
    this.field = config.text("field", "output");
    this.targetTokens = config.integer("target_tokens", 60);
    if (this.field != "instruction" && this.field != "output") config.refuse("field: expected instruction or output");
    if (this.targetTokens < 1) config.refuse("target_tokens: expected 1 or more");
  }

  score(record: Record): Score {
    const text = this.field == "instruction" ? record.instruction : record.output;
    if (text.length == 0) return Score.none("there is no " + this.field);
    const tokens = countTokens(text);
    return new Score(Math.min(f64(tokens) / f64(this.targetTokens), 1), tokens.toString() + " tokens");
  }
}

register(new Mine("{{name}}", "0.1.0", SCHEMA));
