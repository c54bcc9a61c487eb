// Records as plugins see them, and how a batch of them crosses.

import host from "autodidact:plugin/text@0.1.0";

// The texts of a record, in the WIT's order.
const FIELDS = ["instruction", "input", "output", "language", "taskType", "topic", "labels"];

/** One record; texts are empty where there is nothing. */
export class Record {
  /** Shows one of a batch's records; tests take `Record.of`. */
  constructor(batch, at) {
    // Two fields: the engine makes an object of more in two parts.
    this._batch = batch;
    this._at = at;
  }

  /** Makes a record of its texts, for tests: `Record.of({ instruction: "Name a river.", language: "en" })`. */
  static of(texts) {
    return new Record(Batch.of(FIELDS.map((field) => texts[field] ?? "")), 0);
  }

  /** What to do. */
  get instruction() {
    return this._batch.text(0, this._at);
  }

  /** What to do it to. */
  get input() {
    return this._batch.text(1, this._at);
  }

  /** The answer; empty before answers are generated. */
  get output() {
    return this._batch.text(2, this._at);
  }

  /** The ISO 639-1 code of the instruction's language, such as `en` or `zh`. */
  get language() {
    return this._batch.text(3, this._at);
  }

  /** The form of the task, such as `classification` or `open_generation`. */
  get taskType() {
    return this._batch.text(4, this._at);
  }

  /** What it is about. */
  get topic() {
    return this._batch.text(5, this._at);
  }

  /** The labels that a classification may have, one a line. */
  get labels() {
    return this._batch.text(6, this._at);
  }
}

/** A batch of records, which is laid out as the WIT says. */
export class Batch {
  /** Shows texts in UTF-8, one after the other, and where each of them ends. */
  constructor(bytes, ends) {
    if (ends.length % FIELDS.length !== 0) throw new Error(`the batch: ${ends.length} texts are no records`);
    this._bytes = bytes;
    this._ends = ends;
    // Of each field that was asked for, its texts of all records, one after the other, and where each of them ends.
    this._read = [];
  }

  /** Makes a batch of one record's texts. */
  static of(texts) {
    const batch = new Batch(null, []);
    batch._read = texts.map((text) => ({ texts: text, ends: [text.length] }));
    return batch;
  }

  /** Gives what `judge` makes of each record, in order. */
  map(judge) {
    const records = this._ends.length / FIELDS.length;
    const made = [];
    for (let at = 0; at < records; at += 1) made.push(judge(new Record(this, at)));
    return made;
  }

  /** Gives a text of one of the records. */
  text(field, at) {
    const { texts, ends } = this._read[field] ?? this.read(field);
    return texts.slice(at > 0 ? ends[at - 1] : 0, ends[at]);
  }

  /** Has a field's texts read, for which the engine has nothing of its own: its interpreter would take several times as long. */
  read(field) {
    const given = new Uint32Array(this._ends.length);
    given.set(this._ends);
    const [texts, ends] = host.utf16(this._bytes, given, field, FIELDS.length);
    this._read[field] = { texts, ends: new Uint32Array(ends.buffer, ends.byteOffset, ends.length / 4) };
    return this._read[field];
  }
}
