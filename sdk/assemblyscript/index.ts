// Writes Autodidact plugins in AssemblyScript: a class, one method for each record, and the exports of its kind.
//
//     import { Config, Decision, Plugin, Record, register } from "../sdk/assemblyscript";
//     export * from "../sdk/assemblyscript/exports/filter";
//
//     class Shout extends Plugin {
//       maxMarks: i32 = 2;
//
//       configure(config: Config): void {
//         this.maxMarks = config.integer("max_marks", 2);
//       }
//
//       decide(record: Record): Decision {
//         return record.instruction.includes("!!!") ? Decision.drop("shouts") : Decision.keep();
//       }
//     }
//
//     register(new Shout("shout", "0.1.0", '{"type": "object"}'));
//
// The kinds are those whose exports are there: `exports/filter`, `exports/validator`, `exports/scorer`, `exports/template`; of several, a
// line for each. What a plugin says must follow from the configuration and the record alone. A `throw` aborts the instance, and the record
// at fault is lost.

import { Completion, Item, Rendered, Request } from "./prompts";
import { Config } from "./config";
import { Record } from "./record";
import { Decision, Outcome, Score } from "./verdict";

export { Config } from "./config";
export { Capability, Generation, Given, Level, Likelihood } from "./host";
export { embed, files, generate, log, read, score } from "./host";
export { Completion, Example, Item, Rendered, Request } from "./prompts";
export { Record } from "./record";
export { Decision, Outcome, Score } from "./verdict";

/** Who a plugin is, and what it answers; a kind's methods have to be overridden. */
export class Plugin {
  /** What it asks to use; a person grants it, or not. */
  capabilities: u8[] = [];
  /** Why there is no answer: set it and return anything, and the host asks again for parts of the batch. */
  problem: string = "";

  /** The name is 1 to 64 of `a-z A-Z 0-9 . _ -`, the schema that of the configuration, empty where there is nothing to configure. */
  constructor(public name: string, public version: string, public configSchema: string = "") {}

  /** Reads the settings; called once for each configuration. What is wrong with it goes to `config.refuse`. */
  configure(config: Config): void {}

  /** Decides on one record: a filter's. */
  decide(record: Record): Decision {
    return Decision.keep();
  }

  /** Decides on a batch, as many decisions as records: override it instead where the model is asked, which is best asked at once. */
  decideAll(records: Record[]): Decision[] {
    const decisions: Decision[] = [];
    for (let r = 0; r < records.length; r++) decisions.push(this.decide(records[r]));
    return decisions;
  }

  /** Judges one record: a validator's. */
  validate(record: Record): Outcome {
    return Outcome.accept();
  }

  /** Judges a batch, as many outcomes as records: override it instead where the model is asked, which is best asked at once. */
  validateAll(records: Record[]): Outcome[] {
    const outcomes: Outcome[] = [];
    for (let r = 0; r < records.length; r++) outcomes.push(this.validate(records[r]));
    return outcomes;
  }

  /** Scores one record: a scorer's. */
  score(record: Record): Score {
    return Score.none("not scored");
  }

  /** Scores a batch, as many scores as records: override it instead where the model is asked, which is best asked at once. */
  scoreAll(records: Record[]): Score[] {
    const scores: Score[] = [];
    for (let r = 0; r < records.length; r++) scores.push(this.score(records[r]));
    return scores;
  }

  /** Writes the prompt of a request: a template's. */
  render(request: Request): Rendered {
    return Rendered.ask("");
  }

  /** Reads the items of a completion: a template's. */
  parse(completion: Completion): Item[] {
    return [];
  }
}

let registered: Plugin | null = null;

/** Makes an object this component's plugin; once. */
export function register(plugin: Plugin): void {
  registered = plugin;
}

/** Shows the plugin. */
export function plugin(): Plugin {
  return registered!;
}
