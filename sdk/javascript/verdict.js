// What plugins say of records.

/** Keep or drop, with what it rests on; `keep` and `drop` make it. The names are those that the host's bindings read. */
export class Decision {
  constructor(dropReason, note, score) {
    this.dropReason = dropReason;
    this.note = note;
    this.score = score;
  }
}

/** A better answer to the same task; `correct` makes it. */
export class Correction {
  constructor(output, note) {
    this.output = output;
    this.note = note;
  }
}

/** What a record is worth: a finite number, or null where it cannot be told, and what it rests on in words for people. */
export class Score {
  constructor(value, note = null) {
    this.value = numberOrNull(value, "value");
    this.note = textOrNull(note, "note");
  }
}

/** Lets a record go on, for no reason. */
export const KEPT = new Decision(null, null, null);

/** Lets a record go on. */
export function keep(grounds) {
  if (grounds === undefined) return KEPT;
  const { note = null, score = null } = grounds;
  return new Decision(null, textOrNull(note, "note"), numberOrNull(score, "score"));
}

/**
 * Drops a record for a stable reason: snake case, at most 64 bytes, starting with a letter. The score is the number that crossed a
 * threshold; it must be finite.
 */
export function drop(reason, { note = null, score = null } = {}) {
  if (typeof reason !== "string") throw new TypeError(`a reason is a text, not ${reason}`);
  return new Decision(reason, textOrNull(note, "note"), numberOrNull(score, "score"));
}

/** Lets an answered record go on as it is. */
export function accept() {
  return KEPT;
}

/** Lets a record go on with another answer; the first one is kept beside it. */
export function correct(output, note = null) {
  if (typeof output !== "string") throw new TypeError(`an answer is a text, not ${output}`);
  return new Correction(output, textOrNull(note, "note"));
}

function textOrNull(value, name) {
  if (value === null || typeof value === "string") return value;
  throw new TypeError(`a ${name} is a text, not ${value}`);
}

function numberOrNull(value, name) {
  if (value === null || typeof value === "number") return value;
  throw new TypeError(`a ${name} is a number, not ${value}`);
}
