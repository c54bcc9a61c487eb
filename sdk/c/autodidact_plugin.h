/* Writes Autodidact plugins in C: one file, no libraries.
 *
 * A filter says who it is and decides; this header does the rest:
 *
 *     #define AD_NAME "shout"
 *     #define AD_VERSION "0.1.0"
 *     #define AD_CONFIG_SCHEMA ""
 *     #include "autodidact_plugin.h"
 *
 *     static ad_decision ad_decide(ad_text config, const ad_record *record) {
 *         (void)config;
 *         return ad_contains(record->instruction, "!!!") ? ad_drop("shouts") : ad_keep();
 *     }
 *
 *     static bool ad_check_config(ad_text config, ad_text *error) {
 *         (void)config, (void)error;
 *         return true;
 *     }
 *
 * Build it for wasm32-freestanding with -Wl,--no-entry; the core module that comes out is installed as it is. Nothing of the
 * standard library is there. A decision must follow from the configuration and the record alone.
 */
#ifndef AUTODIDACT_PLUGIN_H
#define AUTODIDACT_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text in UTF-8, not ended by a zero. */
typedef struct {
    const char *bytes;
    uint32_t length;
} ad_text;

/* One record; texts are empty where there is nothing. */
typedef struct {
    ad_text instruction; /* what to do */
    ad_text input;       /* what to do it to */
    ad_text output;      /* the answer; empty before answers are generated */
    ad_text language;    /* the ISO 639-1 code of the instruction's language */
    ad_text task_type;   /* the form of the task, such as classification */
    ad_text topic;       /* what it is about */
    ad_text labels;      /* the labels that a classification may have, one a line */
} ad_record;

/* Keep or drop, with what it rests on. */
typedef struct {
    ad_text drop_reason; /* empty keeps; a code in snake case drops */
    ad_text note;        /* in words for people; empty for none */
    bool has_score;
    double score; /* the number that crossed a threshold; finite */
} ad_decision;

/* Makes a text of a C string. */
static inline ad_text ad_text_of(const char *string) {
    ad_text text = {string, 0};
    while (string[text.length] != 0) text.length++;
    return text;
}

static inline ad_decision ad_keep(void) {
    ad_decision decision = {{"", 0}, {"", 0}, false, 0};
    return decision;
}

/* Drops for a reason: snake case, at most 64 bytes, starting with a letter. */
static inline ad_decision ad_drop(const char *reason) {
    ad_decision decision = ad_keep();
    decision.drop_reason = ad_text_of(reason);
    return decision;
}

/* Tells whether a text holds a C string. */
static inline bool ad_contains(ad_text text, const char *string) {
    ad_text part = ad_text_of(string);
    for (uint32_t at = 0; at + part.length <= text.length; at++) {
        uint32_t same = 0;
        while (same < part.length && text.bytes[at + same] == part.bytes[same]) same++;
        if (same == part.length) return true;
    }
    return false;
}

/* What a plugin has to define. A false check leaves in *error what to mend. */
static ad_decision ad_decide(ad_text config, const ad_record *record);
static bool ad_check_config(ad_text config, ad_text *error);

/* Memory lives until the answer of a call was read; then all of it is free again. */
extern unsigned char __heap_base;
static uintptr_t ad_top;

#define AD_EXPORT(name) __attribute__((export_name(name)))

static void *ad_take(size_t alignment, size_t size) {
    if (ad_top == 0) ad_top = (uintptr_t)&__heap_base;
    uintptr_t at = (ad_top + alignment - 1) & ~(uintptr_t)(alignment - 1);
    uintptr_t end = at + size;
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (end < at) __builtin_trap();
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (size_t)-1) {
        __builtin_trap();
    }
    ad_top = end;
    return (void *)at;
}

AD_EXPORT("cabi_realloc")
void *ad_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    unsigned char *taken = ad_take(alignment, size);
    for (size_t i = 0; i < old_size && i < size; i++) taken[i] = ((unsigned char *)old)[i];
    return taken;
}

static void ad_free_all(void) { ad_top = 0; }

/* The layouts below are those that the canonical ABI gives the records of the WIT. */
typedef struct {
    ad_text name, version;
    const uint8_t *kinds;
    uint32_t kinds_length;
    ad_text config_schema;
    const uint8_t *capabilities;
    uint32_t capabilities_length;
} ad_description;

typedef struct {
    uint8_t has_text;
    ad_text text;
} ad_option_text;

typedef struct {
    ad_option_text drop_reason, note;
    uint8_t has_score;
    double score;
} ad_guest_decision;

typedef struct {
    uint8_t is_error;
    const void *list;
    uint32_t length;
} ad_result;

_Static_assert(sizeof(ad_guest_decision) == 40, "a decision takes 40 bytes");

AD_EXPORT("autodidact:plugin/plugin@0.1.0#describe")
ad_description *ad_describe(void) {
    static const uint8_t filter = 0;
    static ad_description description;
    description.name = ad_text_of(AD_NAME);
    description.version = ad_text_of(AD_VERSION);
    description.kinds = &filter;
    description.kinds_length = 1;
    description.config_schema = ad_text_of(AD_CONFIG_SCHEMA);
    return &description;
}

AD_EXPORT("autodidact:plugin/plugin@0.1.0#check-config")
ad_result *ad_export_check_config(const char *config, uint32_t config_length) {
    static ad_result result;
    ad_text text = {config, config_length}, error = {"", 0};
    result.is_error = !ad_check_config(text, &error);
    result.list = error.bytes;
    result.length = error.length;
    return &result;
}

AD_EXPORT("cabi_post_autodidact:plugin/plugin@0.1.0#check-config")
void ad_post_check_config(ad_result *result) {
    (void)result;
    ad_free_all();
}

static ad_option_text ad_option(ad_text text) {
    ad_option_text option = {text.length > 0, text};
    return option;
}

AD_EXPORT("autodidact:plugin/filter@0.1.0#filter")
ad_result *ad_export_filter(const char *config, uint32_t config_length, const char *text, uint32_t text_length,
                            const uint32_t *ends, uint32_t ends_length) {
    enum { FIELDS = 7 };
    static ad_result result;
    uint32_t records = ends_length / FIELDS, start = 0;
    ad_text given = {config, config_length};
    ad_guest_decision *decisions = ad_take(8, records * sizeof(ad_guest_decision));
    for (uint32_t r = 0; r < records; r++) {
        ad_text fields[FIELDS];
        for (uint32_t f = 0; f < FIELDS; f++) {
            uint32_t end = ends[FIELDS * r + f];
            if (end < start || end > text_length) __builtin_trap();
            fields[f].bytes = text + start;
            fields[f].length = end - start;
            start = end;
        }
        ad_record record = {fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[6]};
        ad_decision decision = ad_decide(given, &record);
        decisions[r].drop_reason = ad_option(decision.drop_reason);
        decisions[r].note = ad_option(decision.note);
        decisions[r].has_score = decision.has_score;
        decisions[r].score = decision.score;
    }
    result.is_error = 0;
    result.list = decisions;
    result.length = records;
    return &result;
}

AD_EXPORT("cabi_post_autodidact:plugin/filter@0.1.0#filter")
void ad_post_filter(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
