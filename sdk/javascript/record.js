// Records as plugins see them, and how a batch of them crosses.

// The texts of a record, in the WIT's order.
const FIELDS = ["instruction", "input", "output", "language", "taskType", "topic", "labels"];

/** One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice. */
export class Record {
  /** Shows the record whose first text goes from `bounds[at]` to `bounds[at + 1]`; tests take `Record.of`. */
  constructor(text, bounds, at) {
    this._text = text;
    this._bounds = bounds;
    this._at = at;
  }

  /** Makes a record of its texts, for tests: `Record.of({ instruction: "Name a river.", language: "en" })`. */
  static of(texts) {
    const encoded = FIELDS.map((field) => [...unescape(encodeURIComponent(texts[field] ?? ""))].map((c) => c.charCodeAt(0)));
    const bounds = [0];
    for (const bytes of encoded) bounds.push(bounds.at(-1) + bytes.length);
    return new Record(Uint8Array.from(encoded.flat()), bounds, 0);
  }

  /** What to do. */
  get instruction() {
    return decode(this._text, this._bounds[this._at], this._bounds[this._at + 1]);
  }

  /** What to do it to. */
  get input() {
    return decode(this._text, this._bounds[this._at + 1], this._bounds[this._at + 2]);
  }

  /** The answer; empty before answers are generated. */
  get output() {
    return decode(this._text, this._bounds[this._at + 2], this._bounds[this._at + 3]);
  }

  /** The ISO 639-1 code of the instruction's language, such as `en` or `zh`. */
  get language() {
    return decode(this._text, this._bounds[this._at + 3], this._bounds[this._at + 4]);
  }

  /** The form of the task, such as `classification` or `open_generation`. */
  get taskType() {
    return decode(this._text, this._bounds[this._at + 4], this._bounds[this._at + 5]);
  }

  /** What it is about. */
  get topic() {
    return decode(this._text, this._bounds[this._at + 5], this._bounds[this._at + 6]);
  }

  /** The labels that a classification may have, one a line. */
  get labels() {
    return decode(this._text, this._bounds[this._at + 6], this._bounds[this._at + 7]);
  }
}

/** Shows the records of a batch, which is laid out as the WIT says. */
export function records(text, ends) {
  if (ends.length % FIELDS.length !== 0) throw new Error(`the batch: ${ends.length} texts are no records`);
  const made = [];
  const texts = ends.length;
  // From here on the list says where texts start as well.
  ends.unshift(0);
  for (let at = 0; at < texts; at += FIELDS.length) made.push(new Record(text, ends, at));
  return made;
}

const OUTSIDE_ASCII = /[\x80-\xff]/;
const RUN_OUTSIDE_ASCII = /[\x80-\xff]+/g;

/**
 * Decodes UTF-8, which the engine has nothing for.
 *
 * What starts with ASCII is mostly ASCII: Base64 there and back is the shortest way from bytes to a text of as many characters that the
 * engine goes without its interpreter, and what is left is looked up. Other scripts are decoded character by character.
 */
function decode(bytes, start, end) {
  if (start === end) return "";
  if (bytes[start] >= 0x80) return decodeScript(bytes, start, end);
  const text = atob(bytes.subarray(start, end).toBase64());
  return OUTSIDE_ASCII.test(text) ? text.replace(RUN_OUTSIDE_ASCII, decodeRun) : text;
}

function decodeRun(run) {
  const bytes = new Uint8Array(run.length);
  for (let i = 0; i < run.length; i++) bytes[i] = run.charCodeAt(i);
  return decodeScript(bytes, 0, bytes.length);
}

// A call takes its arguments on the stack, so that a long text goes in pieces.
const PIECE = 4096;

function decodeScript(bytes, start, end) {
  let text = "";
  let units = [];
  for (let at = start; at < end; ) {
    const first = bytes[at];
    if (first >= 0xe0 && first < 0xf0) {
      units.push(((first & 0x0f) << 12) | ((bytes[at + 1] & 0x3f) << 6) | (bytes[at + 2] & 0x3f));
      at += 3;
    } else if (first < 0x80) {
      units.push(first);
      at += 1;
    } else if (first < 0xe0) {
      units.push(((first & 0x1f) << 6) | (bytes[at + 1] & 0x3f));
      at += 2;
    } else {
      const low = ((bytes[at + 1] & 0x3f) << 12) | ((bytes[at + 2] & 0x3f) << 6) | (bytes[at + 3] & 0x3f);
      const beyond = (((first & 0x07) << 18) | low) - 0x10000;
      units.push(0xd800 | (beyond >> 10), 0xdc00 | (beyond & 0x3ff));
      at += 4;
    }
    if (units.length > PIECE) {
      text += String.fromCharCode.apply(null, units);
      units = [];
    }
  }
  return text + String.fromCharCode.apply(null, units);
}
