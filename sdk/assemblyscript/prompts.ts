// What templates are asked, and what they answer, read where the canonical ABI lays it.

import { readText } from "./memory";

/** An example to show in the prompt; texts are empty where there is nothing. */
export class Example {
  constructor(private at: usize) {}

  get instruction(): string {
    return readText(this.at);
  }

  get input(): string {
    return readText(this.at + 8);
  }

  get output(): string {
    return readText(this.at + 16);
  }

  get taskType(): string {
    return readText(this.at + 24);
  }

  get topic(): string {
    return readText(this.at + 32);
  }
}

/** What a prompt is to ask for. */
export class Request {
  constructor(private at: usize) {}

  /** The ISO 639-1 code of the language that is wanted, such as `en` or `zh`. */
  get language(): string {
    return readText(this.at);
  }

  /** Examples, in the order in which to show them. */
  get examples(): Example[] {
    const examples: Example[] = [];
    const length = load<u32>(this.at, 12);
    for (let i: u32 = 0; i < length; i++) examples.push(new Example(load<usize>(this.at, 8) + 40 * i));
    return examples;
  }

  /** The form of task that is wanted; empty for any. */
  get taskType(): string {
    return readText(this.at + 16);
  }

  /** What it is to be about; empty for anything. */
  get topic(): string {
    return readText(this.at + 24);
  }

  /** How many new instructions are wanted. */
  get count(): u32 {
    return load<u32>(this.at, 32);
  }

  /** A number of the request's own, for templates that choose among wordings. */
  get seed(): u64 {
    return load<u64>(this.at, 40);
  }
}

/** What a model said to a request. */
export class Completion {
  constructor(private at: usize) {}

  get request(): Request {
    return new Request(this.at);
  }

  get text(): string {
    return readText(this.at + 48);
  }

  /** It had as many tokens as it may have. */
  get isCut(): bool {
    return load<u8>(this.at, 56) == 1;
  }
}

/** A request, written out. */
export class Rendered {
  stop: string[] = [];

  constructor(public isChat: bool, public text: string) {}

  /** Asks a model in the form that it was trained on. */
  static ask(text: string): Rendered {
    return new Rendered(true, text);
  }

  /** Shows a model a text to go on with, as it is. */
  static goOn(text: string): Rendered {
    return new Rendered(false, text);
  }
}

/** A new instruction; its form and topic where the model says them, empty for the request's. */
export class Item {
  constructor(public instruction: string, public taskType: string = "", public topic: string = "") {}
}
