// What plugins say of records. Each is told by its class: an object that only looks like one is refused, here as when it runs.

/** Keep or drop, with what it rests on; `keep`, `drop` and `accept` make it. */
export class Decision {
  #private;
  constructor(dropReason: string | null, note: string | null, score: number | null);
  /** Null keeps the record. */
  readonly dropReason: string | null;
  /** What the decision rests on, in words for people. */
  readonly note: string | null;
  /** The number that crossed a threshold. */
  readonly score: number | null;
}

/** A better answer to the same task; `correct` makes it. */
export class Correction {
  #private;
  constructor(output: string, note: string | null);
  /** The answer to go on with. */
  readonly output: string;
  /** What was wrong, in words for people. */
  readonly note: string | null;
}

/** What a record is worth: a finite number, or null where it cannot be told, and what it rests on in words for people. */
export class Score {
  #private;
  constructor(value: number | null, note?: string | null);
  readonly value: number | null;
  readonly note: string | null;
}

/** What a decision rests on. */
export interface Grounds {
  /** In words for people; the host cuts long ones. */
  readonly note?: string | null | undefined;
  /** The number that crossed a threshold; it must be finite. */
  readonly score?: number | null | undefined;
}

/** Lets a record go on. */
export function keep(grounds?: Grounds): Decision;

/** Drops a record for a stable reason: snake case, at most 64 bytes, starting with a letter; not `kept`. */
export function drop(reason: string, grounds?: Grounds): Decision;

/** Lets an answered record go on as it is. */
export function accept(): Decision;

/** Lets a record go on with another answer; the first one is kept beside it. The note says what was wrong. */
export function correct(output: string, note?: string | null): Correction;
