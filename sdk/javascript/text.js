// Text helpers that hold for English and Chinese.

// Unicode's blocks of ideographs and kana, which are written without blanks between words: each character is one token. The other part is
// a run of letters and digits of any other script.
const CJK = "\\u3041-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}々〇";
const TOKEN = new RegExp(`[${CJK}]|(?:(?![${CJK}])[\\p{L}\\p{N}])+`, "gu");

/** Maps full-width forms (`Ａ`, `：`, `（`, the ideographic blank) to their half-width ones; others stay. */
export function foldWidth(text) {
  // Unicode's block of full-width forms repeats ASCII's ! to ~ at a fixed distance.
  const narrow = (wide) => (wide === "\u3000" ? " " : String.fromCharCode(wide.charCodeAt(0) - 0xfee0));
  return text.replace(/[\uff01-\uff5e\u3000]/g, narrow);
}

/** Cuts a text into tokens: a run of letters and digits, lower-cased, is one; each CJK character is one. */
export function tokens(text) {
  return (foldWidth(text).match(TOKEN) ?? []).map((token) => token.toLowerCase());
}

/** Counts the tokens of a text, as many as `tokens` gives. */
export function countTokens(text) {
  return text.match(TOKEN)?.length ?? 0;
}

/** Cuts a text to at most so many characters for a note, with `…` where something was cut. */
export function excerpt(text, maxChars) {
  const characters = [...text];
  return characters.length <= maxChars ? text : characters.slice(0, maxChars).join("") + "…";
}
