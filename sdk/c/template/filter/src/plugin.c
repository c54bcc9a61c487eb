/* Drops instructions that shout or say too little. */
#define AD_NAME "{{name}}"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA                                                                                                   \
    "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"                                            \
    "\"max_marks\": {\"description\": \"The most exclamation marks, of either width, that are kept.\", "                   \
    "\"type\": \"integer\", \"minimum\": 0, \"default\": 2}, "                                                             \
    "\"min_tokens\": {\"description\": \"The least tokens that are kept: a word, a number, or one Chinese character.\", "  \
    "\"type\": \"integer\", \"minimum\": 0, \"default\": 3}}}"
#define AD_FILTER
#include "autodidact_plugin.h"

static int64_t max_marks, min_tokens;

static bool ad_configure(ad_text config, ad_text *error) {
    max_marks = 2;
    min_tokens = 3;
    ad_setting settings[] = {{"max_marks", AD_INTEGER, &max_marks}, {"min_tokens", AD_INTEGER, &min_tokens}};
    if (!ad_read_config(config, settings, 2, error)) return false;
    if (max_marks >= 0 && min_tokens >= 0) return true;
    *error = ad_text_of("max_marks and min_tokens: expected 0 or more");
    return false;
}

/* Writes a count for a note. */
static ad_text counted(uint32_t count, const char *what) {
    ad_builder note = {NULL, 0, 0};
    ad_append_number(&note, count);
    ad_append_string(&note, what);
    return ad_built(&note);
}

static ad_decision ad_decide(const ad_record *record) {
    uint32_t tokens = ad_count_tokens(record->instruction), marks = 0;
    if (tokens < min_tokens) return ad_drop_for("too_short", counted(tokens, " tokens"), tokens);
    for (uint32_t at = 0; at < record->instruction.length;) {
        marks += ad_fold_width(ad_next_character(record->instruction, &at)) == '!';
    }
    if (marks > max_marks) return ad_drop_for("shouts", counted(marks, " exclamation marks"), marks);
    return ad_keep();
}
