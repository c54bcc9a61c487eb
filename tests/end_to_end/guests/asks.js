// Uses all that a person may grant, and says in each decision what came of it.

import { definePlugin, keep } from "../sdk/javascript/index.js";
import { files, read } from "../sdk/javascript/data.js";
import { log } from "../sdk/javascript/log.js";
import { embed, generate, score } from "../sdk/javascript/model.js";

export const { plugin, filter } = definePlugin({
  name: "asks-javascript",
  version: "0.1.0",
  capabilities: ["log", "generate", "embed", "score", "data"],

  decideAll(records) {
    log("info", "asked");
    const instructions = records.map((record) => record.instruction);
    const said = generate(instructions, { maxTokens: 4, choices: ["yes", "no"] });
    const vectors = embed(instructions);
    const likelihoods = score(instructions.map((instruction) => [instruction, "好 Yes."]));
    const [file] = files();
    const content = decodeURIComponent(Array.from(read(file), (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
    const why = refusal();
    return said.map((answer, r) => {
      const square = Math.round(100 * vectors[r].reduce((sum, value) => sum + value * value, 0));
      const { tokens, logProbability } = likelihoods[r];
      const note = `${answer}; ${vectors[r].length} numbers, ${square}; ${tokens} tokens; ${file}: ${content}; ${why}`;
      return keep({ note, score: logProbability });
    });
  },
});

function refusal() {
  try {
    read("none");
  } catch (error) {
    return error.message;
  }
  throw new Error("there is a file of no name");
}
