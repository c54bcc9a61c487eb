// Reads UTF-8, for which the engine has nothing of its own. It is an interpreter: what a text costs is how many steps its characters take,
// so that they are read several at a time.

const { fromCharCode } = String;

/** Texts, one after the other. */
export class Utf8 {
  constructor(bytes) {
    this.bytes = bytes;
    this.words = null;
  }

  /** Reads the text from one byte to another, both at the border of a character. */
  text(start, end) {
    if (start === end) return "";
    const { bytes } = this;
    if (bytes[start] >= 0x80) return decode(bytes, start, end);
    // What begins with ASCII is mostly ASCII: Base64 there and back is the shortest way from bytes to a text of as many characters that the
    // engine goes without its interpreter, and what is left is looked up.
    const text = atob(bytes.subarray(start, end).toBase64());
    return this.isAscii(start, end) ? text : text.replace(/[\x80-\xff]+/g, decodeRun);
  }

  /** Tells whether the bytes from one to another, at least one, are ASCII. */
  isAscii(start, end) {
    const words = (this.words ??= wordsOf(this.bytes));
    let at = start >> 2;
    const last = (end - 1) >> 2;
    // Of the first and the last word counts what lies within.
    const first = words[at] & (-1 << ((start & 3) << 3));
    const within = -1 >>> (24 - (((end - 1) & 3) << 3));
    if (at === last) return (first & within & HIGH_BITS) === 0;
    let seen = first | (words[last] & within);
    at += 1;
    for (; at + 4 <= last; at += 4) seen |= words[at] | words[at + 1] | words[at + 2] | words[at + 3];
    for (; at < last; at += 1) seen |= words[at];
    return (seen & HIGH_BITS) === 0;
  }
}

// The bits of four bytes that ASCII leaves out.
const HIGH_BITS = 0x80808080 | 0;

/** Shows bytes four at a time, the first the lowest; zeros fill the last word up. */
function wordsOf(bytes) {
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  return new Int32Array(padded.buffer);
}

function decodeRun(run) {
  const bytes = new Uint8Array(run.length);
  for (let i = 0; i < run.length; i++) bytes[i] = run.charCodeAt(i);
  return decode(bytes, 0, bytes.length);
}

function decode(bytes, start, end) {
  let text = "";
  let at = start;
  while (at < end) {
    // Characters of 1110xxxx 10yyyyyy 10zzzzzz, as Chinese and its like have them: eight at once, then the last few. `fromCharCode` takes the
    // lower 16 bits of a number, and what the marks of the last two bytes come to there is 0x2080.
    for (; at + 24 <= end; at += 24) {
      const a = bytes[at];
      if (a < 0xe0) break;
      const b = bytes[at + 3];
      const c = bytes[at + 6];
      const d = bytes[at + 9];
      const e = bytes[at + 12];
      const f = bytes[at + 15];
      const g = bytes[at + 18];
      const h = bytes[at + 21];
      const others = (a ^ 0xe0) | (b ^ 0xe0) | (c ^ 0xe0) | (d ^ 0xe0) | (e ^ 0xe0) | (f ^ 0xe0) | (g ^ 0xe0) | (h ^ 0xe0);
      if (others >= 0x10) break;
      text += fromCharCode(
        (a << 12) + (bytes[at + 1] << 6) + bytes[at + 2] - 0x2080,
        (b << 12) + (bytes[at + 4] << 6) + bytes[at + 5] - 0x2080,
        (c << 12) + (bytes[at + 7] << 6) + bytes[at + 8] - 0x2080,
        (d << 12) + (bytes[at + 10] << 6) + bytes[at + 11] - 0x2080,
        (e << 12) + (bytes[at + 13] << 6) + bytes[at + 14] - 0x2080,
        (f << 12) + (bytes[at + 16] << 6) + bytes[at + 17] - 0x2080,
        (g << 12) + (bytes[at + 19] << 6) + bytes[at + 20] - 0x2080,
        (h << 12) + (bytes[at + 22] << 6) + bytes[at + 23] - 0x2080,
      );
    }
    for (; at < end && at + 24 > end; at += 3) {
      const a = bytes[at];
      if (a < 0xe0 || a >= 0xf0) break;
      text += fromCharCode((a << 12) + (bytes[at + 1] << 6) + bytes[at + 2] - 0x2080);
    }
    // What stands between them, such as code, in the same way.
    for (; at + 8 <= end; at += 8) {
      const a = bytes[at];
      if (a >= 0x80) break;
      const b = bytes[at + 1];
      const c = bytes[at + 2];
      const d = bytes[at + 3];
      const e = bytes[at + 4];
      const f = bytes[at + 5];
      const g = bytes[at + 6];
      const h = bytes[at + 7];
      if ((b | c | d | e | f | g | h) >= 0x80) break;
      text += fromCharCode(a, b, c, d, e, f, g, h);
    }
    if (at < end) {
      const apart = decodeApart(bytes, at, end);
      text += fromCharCode.apply(null, apart.units);
      at = apart.at;
    }
  }
  return text;
}

// So many characters are read one by one before eight at once are tried again.
const APART = 32;

/** Reads some characters of any kind: their UTF-16 units, and the byte after them. */
function decodeApart(bytes, start, end) {
  const units = [];
  let at = start;
  for (let left = APART; left > 0 && at < end; left -= 1) {
    const first = bytes[at];
    if (first >= 0xe0 && first < 0xf0) {
      units.push((first << 12) + (bytes[at + 1] << 6) + bytes[at + 2] - 0x2080);
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
  }
  return { units, at };
}
