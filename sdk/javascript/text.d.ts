// Text helpers that hold for English and Chinese.

/** Maps full-width forms (`Ａ`, `：`, `（`, the ideographic blank) to their half-width ones; others stay. */
export function foldWidth(text: string): string;

/** Cuts a text into tokens: a run of letters and digits, lower-cased, is one; each CJK character is one. */
export function tokens(text: string): string[];

/** Counts the tokens of a text, as many as `tokens` gives. */
export function countTokens(text: string): number;

/** Cuts a text to at most so many characters (code points) for a note, with `…` after them where something was cut. */
export function excerpt(text: string, maxChars: number): string;
