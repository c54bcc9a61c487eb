// Text helpers that hold for English and Chinese.

/** Maps a full-width form (`Ａ`, `：`, `（`, the ideographic blank) to its half-width one; others stay. Unicode's block repeats ASCII's
 * ! to ~ at this distance. */
export function foldWidth(code: i32): i32 {
  if (code >= 0xff01 && code <= 0xff5e) return code - 0xfee0;
  return code == 0x3000 ? 0x20 : code;
}

/** Tells whether a character is a Chinese ideograph or Japanese kana, which are written without blanks between words. */
export function isCjk(code: i32): bool {
  if (code >= 0x3041) {
    return code <= 0x30ff || (code >= 0x3400 && code <= 0x4dbf) || (code >= 0x4e00 && code <= 0x9fff) ||
      (code >= 0xf900 && code <= 0xfaff) || (code >= 0x20000 && code <= 0x3ffff);
  }
  return code == 0x3005 || code == 0x3007;
}

/** Tells whether a character is part of a word: an ASCII letter or digit of either width, or any letter beyond ASCII. Without Unicode's
 * tables, what is no letter there is known by its blocks: Latin-1's signs, general punctuation to dingbats, CJK punctuation and forms. */
export function isWord(code: i32): bool {
  const c = foldWidth(code);
  if (c < 0x80) return (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a);
  if (c < 0xc0) return c == 0xaa || c == 0xb5 || c == 0xba;
  return !(c >= 0x2000 && c <= 0x2bff) && !(c >= 0x3000 && c <= 0x303f) && c < 0xfe10 && !isCjk(c);
}

/** Counts tokens: a run of letters and digits is one, and so is each CJK character. */
export function countTokens(text: string): i32 {
  let tokens = 0;
  let inWord = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.codePointAt(at);
    // A character beyond the first plane takes two places.
    if (code > 0xffff) at++;
    const isInWord = isWord(code);
    if (isCjk(code) || (isInWord && !inWord)) tokens++;
    inWord = isInWord;
  }
  return tokens;
}
