// What plugins say of records.

/** Keep or drop, with what it rests on. */
export class Decision {
  /** An empty reason keeps; a note is empty and a score NaN where there is none. */
  constructor(public dropReason: string, public note: string = "", public score: f64 = NaN) {}

  static keep(): Decision {
    return KEPT;
  }

  /** Drops for a stable reason: snake case, at most 64 bytes, starting with a letter. The score is the number that crossed a threshold. */
  static drop(reason: string, note: string = "", score: f64 = NaN): Decision {
    return new Decision(reason, note, score);
  }
}

const KEPT = new Decision("");

/** What becomes of an answered record. */
export class Outcome {
  constructor(public tag: u8, public text: string, public note: string, public score: f64) {}

  /** Lets it go on as it is. */
  static accept(): Outcome {
    return new Outcome(0, "", "", NaN);
  }

  /** Lets it go on with another answer; the first one is kept beside it. */
  static correct(output: string, note: string = ""): Outcome {
    return new Outcome(1, output, note, NaN);
  }

  /** Drops it for a stable reason, as a filter does. */
  static drop(reason: string, note: string = "", score: f64 = NaN): Outcome {
    return new Outcome(2, reason, note, score);
  }
}

/** What a record is worth. */
export class Score {
  /** A value that is not finite cannot be told. */
  constructor(public value: f64, public note: string = "") {}

  /** Says why there is none. */
  static none(note: string): Score {
    return new Score(NaN, note);
  }
}
