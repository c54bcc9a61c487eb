/* Texts: UTF-8, English and Chinese alike. */
#ifndef AUTODIDACT_TEXT_H
#define AUTODIDACT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text in UTF-8, not ended by a zero. */
typedef struct {
    const char *bytes;
    uint32_t length;
} ad_text;

/* Takes memory that lives until the answer of the call was read. */
static void *ad_take(size_t alignment, size_t size);

/* Makes a text of a C string. */
static inline ad_text ad_text_of(const char *string) {
    ad_text text = {string, 0};
    while (string[text.length] != 0) text.length++;
    return text;
}

static inline bool ad_equal(ad_text a, ad_text b) {
    if (a.length != b.length) return false;
    for (uint32_t i = 0; i < a.length; i++) {
        if (a.bytes[i] != b.bytes[i]) return false;
    }
    return true;
}

static inline bool ad_is(ad_text text, const char *string) { return ad_equal(text, ad_text_of(string)); }

/* Shows the part of a text from a byte up to another. */
static inline ad_text ad_part(ad_text text, uint32_t start, uint32_t end) {
    ad_text part = {text.bytes + start, end - start};
    return part;
}

static inline bool ad_starts_with(ad_text text, const char *string) {
    ad_text start = ad_text_of(string);
    return start.length <= text.length && ad_equal(ad_part(text, 0, start.length), start);
}

/* Tells whether a text holds a C string. */
static inline bool ad_contains(ad_text text, const char *string) {
    ad_text part = ad_text_of(string);
    for (uint32_t at = 0; at + part.length <= text.length; at++) {
        if (ad_equal(ad_part(text, at, at + part.length), part)) return true;
    }
    return false;
}

/* Reads the character at *at, and moves *at past it. */
static inline uint32_t ad_next_character(ad_text text, uint32_t *at) {
    const unsigned char *bytes = (const unsigned char *)text.bytes + *at;
    uint32_t left = text.length - *at;
    uint32_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    if (length > left) length = left;
    *at += length;
    if (length == 1) return bytes[0];
    uint32_t character = bytes[0] & (0xFFu >> (length + 1));
    for (uint32_t i = 1; i < length; i++) character = character << 6 | (bytes[i] & 0x3Fu);
    return character;
}

/* Maps a full-width form (`Ａ`, `：`, `（`, the ideographic blank) to its half-width one; others stay. Unicode's block repeats ASCII's
 * ! to ~ at this distance. */
static inline uint32_t ad_fold_width(uint32_t character) {
    if (character >= 0xFF01 && character <= 0xFF5E) return character - 0xFEE0;
    return character == 0x3000 ? ' ' : character;
}

static inline bool ad_is_blank(uint32_t character) {
    return character == ' ' || (character >= '\t' && character <= '\r') || character == 0xA0 || character == 0x3000;
}

static inline bool ad_is_digit(uint32_t character) {
    character = ad_fold_width(character);
    return character >= '0' && character <= '9';
}

/* Tells whether a character is a Chinese ideograph or Japanese kana, which are written without blanks between words. */
static inline bool ad_is_cjk(uint32_t c) {
    return (c >= 0x3041 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF) || c == 0x3005 || c == 0x3007;
}

/* Tells whether a character is part of a word: an ASCII letter or digit of either width, or any letter beyond ASCII. Without Unicode's
 * tables, what is no letter there is known by its blocks: Latin-1's signs, general punctuation to dingbats, CJK punctuation and forms. */
static inline bool ad_is_word(uint32_t character) {
    uint32_t c = ad_fold_width(character);
    if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
    return !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x303F) && c < 0xFE10 && !ad_is_cjk(c);
}

/* Counts tokens: a run of letters and digits is one, and so is each CJK character. */
static inline uint32_t ad_count_tokens(ad_text text) {
    uint32_t tokens = 0;
    bool in_word = false;
    for (uint32_t at = 0; at < text.length;) {
        uint32_t character = ad_next_character(text, &at);
        bool is_word = ad_is_word(character);
        tokens += ad_is_cjk(character) || (is_word && !in_word);
        in_word = is_word;
    }
    return tokens;
}

/* Takes blanks of either width off both ends. */
static inline ad_text ad_trim(ad_text text) {
    uint32_t start = 0, end = 0;
    for (uint32_t at = 0; at < text.length;) {
        uint32_t before = at;
        if (ad_is_blank(ad_next_character(text, &at))) continue;
        if (end == 0) start = before;
        end = at;
    }
    return ad_part(text, start, end);
}

/* A text that grows. Start with zeros. */
typedef struct {
    char *bytes;
    uint32_t length, room;
} ad_builder;

static inline void ad_append(ad_builder *builder, ad_text text) {
    if (builder->length + text.length > builder->room) {
        builder->room = 2 * (builder->length + text.length) + 64;
        char *moved = ad_take(1, builder->room);
        for (uint32_t i = 0; i < builder->length; i++) moved[i] = builder->bytes[i];
        builder->bytes = moved;
    }
    for (uint32_t i = 0; i < text.length; i++) builder->bytes[builder->length + i] = text.bytes[i];
    builder->length += text.length;
}

static inline void ad_append_string(ad_builder *builder, const char *string) { ad_append(builder, ad_text_of(string)); }

static inline void ad_append_number(ad_builder *builder, uint64_t number) {
    char digits[20];
    uint32_t start = sizeof digits;
    do digits[--start] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    ad_text text = {digits + start, (uint32_t)sizeof digits - start};
    ad_append(builder, text);
}

static inline ad_text ad_built(const ad_builder *builder) {
    ad_text text = {builder->length > 0 ? builder->bytes : "", builder->length};
    return text;
}

#endif
