// Records as plugins see them, and how a batch of them crosses.

/** The texts of a record; one that is left out is empty. */
export type Texts = { readonly [Name in Field]?: string | null | undefined };

/** The names of a record's texts. */
export type Field = "instruction" | "input" | "output" | "language" | "taskType" | "topic" | "labels";

/** One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice. */
export class Record {
  private readonly _batch: Batch;
  private readonly _first: number;

  /** Shows the record whose first text is the batch's text `first`; tests take `Record.of`. */
  constructor(batch: Batch, first: number);

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

/** A batch of records: its texts in UTF-8, and the byte where each of them ends, seven a record. */
export class Batch {
  private readonly _texts: object;
  private readonly _ends: readonly number[];

  /** Shows texts, one after the other, and where each of them ends. */
  constructor(bytes: Uint8Array, ends: readonly number[]);

  /** Gives what `judge` makes of each record, in order. */
  map<T>(judge: (record: Record) => T): T[];

  /** Decodes one of the texts. */
  text(at: number): string;
}
