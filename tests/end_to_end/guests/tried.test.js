// Tests of the filter that `autodidact plugin new --lang javascript` makes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Record } from "./sdk/javascript/index.js";
import { filter } from "./src/plugin.js";

test("a record is made of its texts", () => {
  const record = Record.of({ instruction: "写一首诗！", output: "好𝄞", labels: "a\nb" });
  assert.deepEqual([record.instruction, record.input, record.output, record.labels], ["写一首诗！", "", "好𝄞", "a\nb"]);
});

test("a batch is judged as it crosses", () => {
  const records = [
    ["Name three rivers of Europe.", "", "Loire, Elbe, Po.", "en", "", "", ""],
    ["写一首关于春天的诗！！！", "", "", "zh", "", "", ""],
    ["é𝄞", "", "", "en", "", "", ""],
  ];
  const texts = records.flat().map((text) => new TextEncoder().encode(text));
  const ends = [];
  for (const text of texts) ends.push((ends.at(-1) ?? 0) + text.length);
  const decisions = filter.filter("{}", Uint8Array.from(texts.flatMap((text) => [...text])), ends);
  assert.deepEqual(decisions.map((decision) => decision.dropReason), [null, "shouts", "too_short"]);
});
