/** One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice. */
export class Record {
  constructor(private text: usize, private ends: usize, private first: i32) {}

  /** Shows the records of a batch. */
  static all(text: usize, ends: usize, endsLength: i32): Record[] {
    const records = new Array<Record>(endsLength / FIELDS);
    for (let r = 0; r < records.length; r++) records[r] = new Record(text, ends, FIELDS * r);
    return records;
  }

  /** What to do. */
  get instruction(): string {
    return this.field(0);
  }

  /** What to do it to. */
  get input(): string {
    return this.field(1);
  }

  /** The answer; empty before answers are generated. */
  get output(): string {
    return this.field(2);
  }

  /** The ISO 639-1 code of the instruction's language, such as `en` or `zh`. */
  get language(): string {
    return this.field(3);
  }

  /** The form of the task, such as `classification` or `open_generation`. */
  get taskType(): string {
    return this.field(4);
  }

  /** What it is about. */
  get topic(): string {
    return this.field(5);
  }

  /** The labels that a classification may have, one a line. */
  get labels(): string {
    return this.field(6);
  }

  private field(field: i32): string {
    const index = this.first + field;
    const start = index > 0 ? load<u32>(this.ends + 4 * (index - 1)) : 0;
    return String.UTF8.decodeUnsafe(this.text + start, load<u32>(this.ends + 4 * index) - start);
  }
}

/** The texts of a record, as the WIT says. */
const FIELDS: i32 = 7;
