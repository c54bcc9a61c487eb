// Drops instructions that shout or say too little.

import { Config, Decision, Plugin, Record, register } from "../sdk/assemblyscript/index";
import { countTokens, foldWidth } from "../sdk/assemblyscript/text";
export * from "../sdk/assemblyscript/exports/filter";

const SCHEMA = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max_marks": {
      "description": "The most exclamation marks, of either width, that are kept.",
      "type": "integer", "minimum": 0, "default": 2
    },
    "min_tokens": {
      "description": "The least tokens that are kept: a word, a number, or one Chinese character.",
      "type": "integer", "minimum": 0, "default": 3
    }
  }
}`;

class Mine extends Plugin {
  maxMarks: i32 = 0;
  minTokens: i32 = 0;

  configure(config: Config): void {
    this.maxMarks = config.integer("max_marks", 2);
    this.minTokens = config.integer("min_tokens", 3);
    if (this.maxMarks < 0 || this.minTokens < 0) config.refuse("max_marks and min_tokens: expected 0 or more");
  }

  decide(record: Record): Decision {
    // A text is decoded each time that it is asked for.
    const instruction = record.instruction;
    const tokens = countTokens(instruction);
    if (tokens < this.minTokens) return Decision.drop("too_short", tokens.toString() + " tokens", tokens);
    const marks = countMarks(instruction);
    if (marks > this.maxMarks) return Decision.drop("shouts", marks.toString() + " exclamation marks", marks);
    return Decision.keep();
  }
}

function countMarks(text: string): i32 {
  let marks = 0;
  for (let at = 0; at < text.length; at++) marks += i32(foldWidth(text.charCodeAt(at)) == 0x21);
  return marks;
}

register(new Mine("{{name}}", "0.1.0", SCHEMA));
