// Records as plugins see them, and how a batch of them crosses.

/** The texts of a record; one that is left out is empty. */
export type Texts = { readonly [Name in Field]?: string | null | undefined };

/** The names of a record's texts. */
export type Field = "instruction" | "input" | "output" | "language" | "taskType" | "topic" | "labels";

/** One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice. */
export class Record {
  private readonly _text: Uint8Array;
  private readonly _bounds: readonly number[];
  private readonly _at: number;

  /** Shows the record whose first text goes from byte `bounds[at]` to `bounds[at + 1]`; tests take `Record.of`. */
  constructor(text: Uint8Array, bounds: readonly number[], at: number);

  /** Makes a record of its texts, for tests: `Record.of({ instruction: "Name a river.", language: "en" })`. */
  static of(texts: Texts): Record;

  /** What to do. */
  get instruction(): string;

  /** What to do it to. */
  get input(): string;

  /** The answer; empty before answers are generated. */
  get output(): string;

  /** The ISO 639-1 code of the instruction's language, such as `en` or `zh`. */
  get language(): string;

  /** The form of the task, such as `classification` or `open_generation`. */
  get taskType(): string;

  /** What it is about. */
  get topic(): string;

  /** The labels that a classification may have, one a line. */
  get labels(): string;
}

/** Shows the records of a batch: its texts in UTF-8, and the byte where each of them ends, seven a record. Keeps `ends` and changes it. */
export function records(text: Uint8Array, ends: number[]): Record[];
