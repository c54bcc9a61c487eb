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

/** Searches, which the engine does by itself, are cheaper than a regular expression. */
function count(text, mark) {
  let marks = 0;
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) marks += 1;
  return marks;
}
