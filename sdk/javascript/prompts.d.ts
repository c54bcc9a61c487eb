// What templates answer.

/** Who says something in a conversation. */
export type Role = "system" | "user" | "assistant";

/** A turn of a conversation. */
export interface Turn {
  readonly role: Role;
  readonly content: string;
}

/** A request, written out; `ask`, `chat` and `goOn` make it. */
export interface Rendered {
  /** What the model is asked. */
  readonly prompt: { readonly tag: "chat"; readonly val: readonly Turn[] } | { readonly tag: "text"; readonly val: string };
  /** Texts at which the model stops; they are not part of the completion. */
  readonly stop: readonly string[];
}

/** A new instruction; `item` makes it. */
export interface Item {
  /** What to do. */
  readonly instruction: string;
  /** The form of the task, such as `classification`; empty for the request's. */
  readonly taskType: string;
  /** What it is about; empty for the request's. */
  readonly topic: string;
}

/** Asks a model in the form that it was trained on. */
export function ask(text: string, stop?: readonly string[]): Rendered;

/** Shows a model a conversation; the model says the next turn. */
export function chat(turns: readonly Turn[], stop?: readonly string[]): Rendered;

/** Shows a model a text to go on with, as it is. */
export function goOn(text: string, stop?: readonly string[]): Rendered;

/** Makes a new instruction; its form and topic where the model says them, empty for the request's. */
export function item(
  instruction: string,
  options?: { readonly taskType?: string | undefined; readonly topic?: string | undefined },
): Item;
