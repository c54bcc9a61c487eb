// The types of `index.js`, which shows a whole plugin. `log`, `model`, `data` and `text` have modules of their own.

import type { Config } from "./config.js";
import type { Item, Rendered } from "./prompts.js";
import type { Record } from "./record.js";
import type { Correction, Decision, Score } from "./verdict.js";

export { ConfigError, readConfig, type Config, type Settings } from "./config.js";
export { ask, chat, goOn, item, type Item, type Rendered, type Role, type Turn } from "./prompts.js";
export { Record, type Field, type Texts } from "./record.js";
export { accept, correct, drop, keep, Score, type Correction, type Decision, type Grounds } from "./verdict.js";

/** What a plugin can do. */
export type Kind = "filter" | "template" | "validator" | "scorer";

/** What a plugin can ask to use. */
export type Capability = "log" | "generate" | "embed" | "score" | "data";

/** An example to show in a prompt. */
export interface Example {
  /** What to do. */
  readonly instruction: string;
  /** What to do it to; empty for nothing. */
  readonly input: string;
  /** The answer. */
  readonly output: string;
  /** The form of the task, such as `classification`; empty where it is not known. */
  readonly taskType: string;
  /** What it is about; empty where it is not known. */
  readonly topic: string;
}

/** What a prompt is to ask for. */
export interface Request {
  /** The ISO 639-1 code of the language that is wanted, such as `en` or `zh`. */
  readonly language: string;
  /** What was drawn from seeds and kept instructions, in the order to show them. */
  readonly examples: readonly Example[];
  /** The form of task that is wanted; empty for any. */
  readonly taskType: string;
  /** What it is to be about; empty for anything. */
  readonly topic: string;
  /** How many new instructions are wanted. */
  readonly count: number;
  /** A whole number of the request's own, for templates that choose among wordings; beyond 2^53 it is rounded. */
  readonly seed: number;
}

/** What a model said to a request. */
export interface Completion {
  readonly request: Request;
  readonly text: string;
  /** Whether the model had as many tokens as it may have, so that the text is cut. */
  readonly isCut: boolean;
}

/**
 * What a plugin is. It has the functions of one kind or more; what they say must follow from the configuration and what they are shown
 * alone. The types of settings are those that `configure` gives, which therefore stands before the functions that take them.
 */
export interface Definition<S> {
  /** 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit. */
  readonly name: string;
  /** A version such as `1.2.0`: 1 to 64 of `a-z A-Z 0-9 . + -`. */
  readonly version: string;
  /** The JSON Schema of the configuration; left out where there is nothing to configure. */
  readonly configSchema?: object | undefined;
  /** What it asks to use: at least what the component imports. */
  readonly capabilities?: readonly Capability[] | undefined;

  /** Makes the settings of a configuration, or throws a `ConfigError`; called once for each. Without it only `{}` is accepted. */
  configure?(this: void, config: Config): S;

  /** A filter's: `keep()` or `drop(reason)`. */
  decide?(record: Record, settings: S): Decision;
  /** A filter's, for a whole batch: as many decisions as records, in the same order. It goes before `decide`. */
  decideAll?(records: Record[], settings: S): Decision[];

  /** A validator's: `accept()`, `correct(output)` or `drop(reason)`. */
  validate?(record: Record, settings: S): Decision | Correction;
  /** A validator's, for a whole batch: as many outcomes as records, in the same order. It goes before `validate`. */
  validateAll?(records: Record[], settings: S): (Decision | Correction)[];

  /** A scorer's. */
  score?(record: Record, settings: S): Score;
  /** A scorer's, for a whole batch: as many scores as records, in the same order. It goes before `score`. */
  scoreAll?(records: Record[], settings: S): Score[];

  /** A template's: `ask(text)`, `chat(turns)` or `goOn(text)`. Goes with `parse`. */
  render?(request: Request, settings: S): Rendered;
  /** A template's: the new instructions in a completion, each made by `item`; an empty list where there is none. */
  parse?(completion: Completion, settings: S): Item[];
}

/** Who a plugin is, as it tells the host. */
export interface Description {
  readonly name: string;
  readonly version: string;
  readonly kinds: Kind[];
  /** JSON as text; empty where there is nothing to configure. */
  readonly configSchema: string;
  readonly capabilities: readonly Capability[];
}

/** What becomes of an answered record, as the host reads it. */
export type Outcome =
  | { readonly tag: "accept" }
  | { readonly tag: "correct"; readonly val: Correction }
  | { readonly tag: "drop"; readonly val: { readonly reason: string; readonly note: string | null; readonly score: number | null } };

/** A completion as the host shows it; `length` where it is cut. */
export interface HostCompletion {
  readonly request: Request;
  readonly text: string;
  readonly finish: "stop" | "length";
}

/**
 * A component's exports: `plugin`, and an interface for each kind that the definition has functions of. Configurations are JSON as text,
 * records come as `records` takes them, and a failure is thrown as a text.
 */
export type Exports<D> = {
  plugin: { describe(): Description; checkConfig(config: string): void };
} & (D extends { decide: Function } | { decideAll: Function }
  ? { filter: { filter(config: string, text: Uint8Array, ends: number[]): Decision[] } }
  : {}) &
  (D extends { validate: Function } | { validateAll: Function }
    ? { validator: { validate(config: string, text: Uint8Array, ends: number[]): Outcome[] } }
    : {}) &
  (D extends { score: Function } | { scoreAll: Function }
    ? { scorer: { score(config: string, text: Uint8Array, ends: number[]): Score[] } }
    : {}) &
  (D extends { render: Function }
    ? {
        template: {
          render(config: string, requests: Request[]): Rendered[];
          parse(config: string, completions: HostCompletion[]): Item[][];
        };
      }
    : {});

/** Makes a component's exports of what a plugin is. */
export function definePlugin<D, S = {}>(definition: D & Definition<S>): Exports<D>;
