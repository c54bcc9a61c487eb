// The workflow's model: capabilities `generate`, `embed` and `score`. Only for components whose world imports `model`.
//
// Everything costs tokens of a budget, and waits for the model; ask for a whole batch at once, in `decideAll` and its like. Each throws an
// `Error` where the model is not granted, the budget is spent, or it fails.

import host from "autodidact:plugin/model@0.1.0";

const asked = (question) => ({ tag: "chat", val: [{ role: "user", content: question }] });

/** Asks the model each question, and gives a text for each. Where there are choices, an answer is one of these. */
export function generate(questions, { maxTokens, temperature = 0, topP = 1, seed = 0, stop = [], choices = [] }) {
  const requests = questions.map((question) => ({ prompt: asked(question), maxTokens, temperature, topP, seed, stop, choices }));
  return host.generate(requests).map((completion) => completion.text);
}

/** Embeds texts: a vector of length 1 for each. */
export function embed(texts) {
  return host.embed(texts);
}

/** Measures how likely texts are after questions, pairs of both: `{ logProbability, tokens }` for each. */
export function score(pairs) {
  return host.score(pairs.map(([question, text]) => ({ prompt: asked(question), text })));
}
