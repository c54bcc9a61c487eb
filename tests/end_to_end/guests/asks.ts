// Uses all that a person may grant, and says in each decision what came of it.

import { Capability, Decision, Generation, Plugin, Record, register } from "../sdk/assemblyscript/index";
import { embed, files, generate, log, Level, read, score } from "../sdk/assemblyscript/index";
export * from "../sdk/assemblyscript/exports/filter";

class Asks extends Plugin {
  decideAll(records: Record[]): Decision[] {
    log(Level.info, "asked");
    const instructions: string[] = [];
    const answers: string[] = [];
    for (let r = 0; r < records.length; r++) {
      instructions.push(records[r].instruction);
      answers.push("好 Yes.");
    }
    const generation = new Generation(4);
    generation.choices = ["yes", "no"];
    const said = generate(instructions, generation);
    const vectors = embed(instructions);
    const likelihoods = score(instructions, answers);
    this.problem = said.error + vectors.error + likelihoods.error;
    if (this.problem.length > 0) return [];
    const file = files()[0];
    const content = read(file);
    const text = String.UTF8.decode(content.value.buffer);
    const why = read("none").error;
    const decisions: Decision[] = [];
    for (let r = 0; r < said.value.length; r++) {
      const vector = vectors.value[r];
      let square: f64 = 0;
      for (let i = 0; i < vector.length; i++) square += <f64>vector[i] * <f64>vector[i];
      const likelihood = likelihoods.value[r];
      const parts = [
        said.value[r],
        vector.length.toString() + " numbers, " + u64(square * 100 + 0.5).toString(),
        likelihood.tokens.toString() + " tokens",
        file + ": " + text,
        why,
      ];
      decisions.push(new Decision("", parts.join("; "), likelihood.logProbability));
    }
    return decisions;
  }
}

const asks = new Asks("asks-assemblyscript", "0.1.0");
const ALL = [Capability.log, Capability.generate, Capability.embed, Capability.score, Capability.data];
for (let i = 0; i < ALL.length; i++) asks.capabilities.push(<u8>ALL[i]);
register(asks);
