// Records as plugins see them, and how a batch of them crosses.

import { Utf8 } from "./utf8.js";

// The texts of a record, in the WIT's order.
const FIELDS = ["instruction", "input", "output", "language", "taskType", "topic", "labels"];

/** One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice. */
export class Record {
  /** Shows the record whose first text is the batch's text `first`; tests take `Record.of`. */
  constructor(batch, first) {
    // Two fields: the engine makes an object of more in two parts.
    this._batch = batch;
    this._first = first;
  }

  /** Makes a record of its texts, for tests: `Record.of({ instruction: "Name a river.", language: "en" })`. */
  static of(texts) {
    const encoded = FIELDS.map((field) => [...unescape(encodeURIComponent(texts[field] ?? ""))].map((c) => c.charCodeAt(0)));
    const ends = [];
    for (const bytes of encoded) ends.push((ends.at(-1) ?? 0) + bytes.length);
    return new Record(new Batch(Uint8Array.from(encoded.flat()), ends), 0);
  }

  /** What to do. */
  get instruction() {
    return this._batch.text(this._first);
  }

  /** What to do it to. */
  get input() {
    return this._batch.text(this._first + 1);
  }

  /** The answer; empty before answers are generated. */
  get output() {
    return this._batch.text(this._first + 2);
  }

  /** The ISO 639-1 code of the instruction's language, such as `en` or `zh`. */
  get language() {
    return this._batch.text(this._first + 3);
  }

  /** The form of the task, such as `classification` or `open_generation`. */
  get taskType() {
    return this._batch.text(this._first + 4);
  }

  /** What it is about. */
  get topic() {
    return this._batch.text(this._first + 5);
  }

  /** The labels that a classification may have, one a line. */
  get labels() {
    return this._batch.text(this._first + 6);
  }
}

/** A batch of records, which is laid out as the WIT says. */
export class Batch {
  /** Shows texts in UTF-8, one after the other, and where each of them ends. */
  constructor(bytes, ends) {
    if (ends.length % FIELDS.length !== 0) throw new Error(`the batch: ${ends.length} texts are no records`);
    this._texts = new Utf8(bytes);
    this._ends = ends;
  }

  /** Gives what `judge` makes of each record, in order. */
  map(judge) {
    const texts = this._ends.length;
    const made = [];
    for (let first = 0; first < texts; first += FIELDS.length) made.push(judge(new Record(this, first)));
    return made;
  }

  /** Decodes one of the texts. */
  text(at) {
    const ends = this._ends;
    return this._texts.text(at > 0 ? ends[at - 1] : 0, ends[at]);
  }
}
