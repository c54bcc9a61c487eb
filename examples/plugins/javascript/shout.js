// Drops instructions that shout: three exclamation marks or more, of either width.

import { definePlugin, drop, keep } from "../../../sdk/javascript/index.js";

export const { plugin, filter } = definePlugin({
  name: "shout-javascript",
  version: "0.1.0",

  decide(record) {
    const { instruction } = record;
    const marks = count(instruction, "!") + count(instruction, "！");
    if (marks < 3) return keep();
    return drop("shouts", { note: "exclamation marks, counted in the score", score: marks });
  },
});

/** Cutting at a text, which the engine does by itself, is cheaper than a regular expression or steps with `indexOf`. */
function count(text, mark) {
  return text.split(mark).length - 1;
}
