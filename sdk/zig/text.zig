//! Text helpers that hold for English and Chinese.

const std = @import("std");

/// Goes through the characters of a text.
pub fn characters(text: []const u8) std.unicode.Utf8Iterator {
    // The host's texts are UTF-8, as the WIT says.
    return std.unicode.Utf8View.initUnchecked(text).iterator();
}

/// Maps a full-width form (`Ａ`, `：`, `（`, the ideographic blank) to its half-width one; others stay. Unicode's block repeats ASCII's
/// ! to ~ at this distance.
pub fn foldWidth(character: u21) u21 {
    return switch (character) {
        0xFF01...0xFF5E => character - 0xFEE0,
        0x3000 => ' ',
        else => character,
    };
}

/// Tells whether a character is a Chinese ideograph or Japanese kana, which are written without blanks between words.
pub fn isCjk(character: u21) bool {
    return switch (character) {
        0x3005, 0x3007, 0x3041...0x30FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x20000...0x3FFFF => true,
        else => false,
    };
}

/// Tells whether a character is part of a word: an ASCII letter or digit of either width, or any letter beyond ASCII. Without Unicode's
/// tables, what is no letter there is known by its blocks: Latin-1's signs, general punctuation to dingbats, CJK punctuation and forms.
pub fn isWord(character: u21) bool {
    return switch (foldWidth(character)) {
        '0'...'9', 'A'...'Z', 'a'...'z', 0xAA, 0xB5, 0xBA => true,
        0...'0' - 1, '9' + 1...'A' - 1, 'Z' + 1...'a' - 1, 'z' + 1...0xA9, 0xAB...0xB4, 0xB6...0xB9, 0xBB...0xBF => false,
        0x2000...0x2BFF, 0x3000...0x303F => false,
        else => |other| other < 0xFE10 and !isCjk(other),
    };
}

/// Counts tokens: a run of letters and digits is one, and so is each CJK character.
pub fn countTokens(text: []const u8) usize {
    var tokens: usize = 0;
    var in_word = false;
    var rest = characters(text);
    while (rest.nextCodepoint()) |character| {
        const is_word = isWord(character);
        if (isCjk(character) or (is_word and !in_word)) tokens += 1;
        in_word = is_word;
    }
    return tokens;
}

/// Takes blanks of either width off both ends.
pub fn trim(text: []const u8) []const u8 {
    const wide = "\u{3000}";
    var rest = text;
    while (true) {
        const length = rest.len;
        rest = std.mem.trim(u8, rest, &std.ascii.whitespace);
        if (std.mem.startsWith(u8, rest, wide)) rest = rest[wide.len..];
        if (std.mem.endsWith(u8, rest, wide)) rest = rest[0 .. rest.len - wide.len];
        if (rest.len == length) return rest;
    }
}
