// What a person may grant: name what is used in the plugin's `capabilities`. A component imports only what it calls.

import { readText, take, writeQuestion, writeText, writeTexts } from "./memory";

/** What a plugin asks to use. */
export enum Capability { log, generate, embed, score, data }

export enum Level { debug, info, warn, error }

@external("autodidact:plugin/log@0.1.0", "log")
declare function hostLog(level: u32, message: usize, length: usize): void;

@external("autodidact:plugin/model@0.1.0", "generate")
declare function hostGenerate(requests: usize, length: usize, result: usize): void;

@external("autodidact:plugin/model@0.1.0", "embed")
declare function hostEmbed(texts: usize, length: usize, result: usize): void;

@external("autodidact:plugin/model@0.1.0", "score")
declare function hostScore(continuations: usize, length: usize, result: usize): void;

@external("autodidact:plugin/data@0.1.0", "files")
declare function hostFiles(result: usize): void;

@external("autodidact:plugin/data@0.1.0", "read")
declare function hostRead(name: usize, length: usize, result: usize): void;

/** Writes a line into the daemon's log. */
export function log(level: Level, message: string): void {
  const bytes = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** What the host gave, or why it gave nothing: then `value` is empty and `error` is not. */
export class Given<T> {
  constructor(public value: T, public error: string = "") {}
}

/** How to generate: the likeliest answer where only the number of tokens is set. */
export class Generation {
  temperature: f32 = 0;
  topP: f32 = 1;
  seed: u64 = 0;
  /** Texts at which the model stops; they are not part of the answer. */
  stop: string[] = [];
  /** Where there are any, an answer is one of these. */
  choices: string[] = [];

  constructor(public maxTokens: u32) {}
}

/**
 * Asks the model each question, and gives a text for each. What it costs is taken off the plugin's budget, as with the next two; ask for a
 * whole batch at once (`decideAll`), of 256 at most.
 */
export function generate(questions: string[], generation: Generation): Given<string[]> {
  const requests = take(48 * questions.length);
  for (let i = 0; i < questions.length; i++) {
    const at = requests + 48 * i;
    writeQuestion(at, questions[i]);
    store<u32>(at, generation.maxTokens, 12);
    store<f32>(at, generation.temperature, 16);
    store<f32>(at, generation.topP, 20);
    store<u64>(at, generation.seed, 24);
    writeTexts(at + 32, generation.stop);
    writeTexts(at + 40, generation.choices);
  }
  const result = take(12);
  hostGenerate(requests, questions.length, result);
  const texts: string[] = [];
  for (let i = 0; i < lengthOf(result); i++) texts.push(readText(load<usize>(result, 4) + 12 * i));
  return new Given(texts, errorOf(result));
}

/** Embeds texts: a vector of length 1 for each. */
export function embed(texts: string[]): Given<f32[][]> {
  const laid = take(8);
  writeTexts(laid, texts);
  const result = take(12);
  hostEmbed(load<usize>(laid), load<usize>(laid, 4), result);
  const vectors: f32[][] = [];
  for (let i = 0; i < lengthOf(result); i++) {
    const at = load<usize>(result, 4) + 8 * i;
    const vector = new Array<f32>(load<u32>(at, 4));
    memory.copy(vector.dataStart, load<usize>(at), 4 * vector.length);
    vectors.push(vector);
  }
  return new Given(vectors, errorOf(result));
}

/** How likely a text is. */
export class Likelihood {
  /** The sum of its tokens' natural log probabilities, and how many they are. */
  constructor(public logProbability: f64, public tokens: u32) {}
}

/** Measures how likely texts are after questions, as many of both. */
export function score(questions: string[], texts: string[]): Given<Likelihood[]> {
  if (questions.length != texts.length) return new Given<Likelihood[]>([], "there are not as many texts as questions");
  const continuations = take(20 * texts.length);
  for (let i = 0; i < texts.length; i++) {
    writeQuestion(continuations + 20 * i, questions[i]);
    writeText(continuations + 20 * i + 12, texts[i]);
  }
  const result = take(12);
  hostScore(continuations, texts.length, result);
  const likelihoods: Likelihood[] = [];
  for (let i = 0; i < lengthOf(result); i++) {
    const at = load<usize>(result, 4) + 16 * i;
    likelihoods.push(new Likelihood(load<f64>(at), load<u32>(at, 8)));
  }
  return new Given(likelihoods, errorOf(result));
}

/** Lists the names of the files that may be read, sorted. */
export function files(): string[] {
  const list = take(8);
  hostFiles(list);
  const names: string[] = [];
  for (let i = 0; i < load<i32>(list, 4); i++) names.push(readText(load<usize>(list) + 8 * i));
  return names;
}

/** Reads a whole file, as its bytes. */
export function read(name: string): Given<Uint8Array> {
  const bytes = String.UTF8.encode(name);
  const result = take(12);
  hostRead(changetype<usize>(bytes), bytes.byteLength, result);
  const content = new Uint8Array(lengthOf(result));
  memory.copy(content.dataStart, load<usize>(result, 4), content.length);
  return new Given(content, errorOf(result));
}

/** The length of a result's list, 0 where it is an error. */
function lengthOf(result: usize): i32 {
  return load<u8>(result) == 0 ? load<i32>(result, 8) : 0;
}

function errorOf(result: usize): string {
  return load<u8>(result) == 0 ? "" : readText(result + 4);
}
