// The workflow's model: capabilities `generate`, `embed` and `score`. Only for components whose world imports `model`.
//
// Everything costs tokens of a budget, and waits for the model; ask for a whole batch at once, in `decideAll` and its like. Each throws an
// `Error` where the model is not granted, the budget is spent, or it fails. A call takes 256 questions, texts or pairs at most.

/** How to generate. */
export interface Generation {
  /** The most tokens of an answer: 1 to 4096. */
  readonly maxTokens: number;
  /** 0, the default, takes the likeliest token each time. */
  readonly temperature?: number | undefined;
  /** Draws from the likeliest tokens that make up this share of the probability, above 0 and at most 1; 1 without it. */
  readonly topP?: number | undefined;
  /** A whole number from 0 to 2^53; draws are the same for the same one. Take one that follows from the record. 0 without it. */
  readonly seed?: number | undefined;
  /** Texts at which the model stops; they are not part of the answer. */
  readonly stop?: readonly string[] | undefined;
  /** Where there are any, an answer is one of these. */
  readonly choices?: readonly string[] | undefined;
}

/** How likely a text is. */
export interface Likelihood {
  /** The sum of its tokens' natural log probabilities. */
  readonly logProbability: number;
  /** How many tokens it has. */
  readonly tokens: number;
}

/** Asks the model each question, and gives a text for each, in the same order. */
export function generate(questions: readonly string[], generation: Generation): string[];

/** Embeds texts: a vector of length 1 for each, in the same order. */
export function embed(texts: readonly string[]): number[][];

/** Measures how likely texts are after questions, pairs of both. */
export function score(pairs: readonly (readonly [question: string, text: string])[]): Likelihood[];
