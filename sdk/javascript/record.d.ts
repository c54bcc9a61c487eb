// Records as plugins see them, and how a batch of them crosses.

/** The texts of a record; one that is left out is empty. */
export type Texts = { readonly [Name in Field]?: string | null | undefined };

/** The names of a record's texts. */
export type Field = "instruction" | "input" | "output" | "language" | "taskType" | "topic" | "labels";

/** One record; texts are empty where there is nothing. */
export class Record {
  private readonly _batch: Batch;
  private readonly _at: number;

  /** Shows one of a batch's records; tests take `Record.of`. */
  constructor(batch: Batch, at: number);

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
  #private;

  /** Shows texts, one after the other, and where each of them ends. */
  constructor(bytes: Uint8Array, ends: ArrayLike<number>);

  /** Makes a batch of one record's texts. */
  static of(texts: readonly string[]): Batch;

  /** Gives what `judge` makes of each record, in order. */
  map<T>(judge: (record: Record) => T): T[];

  /** Gives a text of one of the records. */
  text(field: number, at: number): string;
}
