/* Takes blanks off answers, and drops those that are empty or too long. */
#define AD_NAME "{{name}}"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA                                                                                              \
    "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"                                       \
    "\"trim\": {\"description\": \"Whether blanks around an answer are taken off.\", "                                \
    "\"type\": \"boolean\", \"default\": true}, "                                                                     \
    "\"max_tokens\": {\"description\": \"The most tokens of an answer: a word, a number, or one Chinese character.\", " \
    "\"type\": \"integer\", \"minimum\": 1, \"default\": 800}}}"
#define AD_VALIDATOR
#include "autodidact_plugin.h"

static bool trim;
static int64_t max_tokens;

static bool ad_configure(ad_text config, ad_text *error) {
    trim = true;
    max_tokens = 800;
    ad_setting settings[] = {{"trim", AD_BOOL, &trim}, {"max_tokens", AD_INTEGER, &max_tokens}};
    if (!ad_read_config(config, settings, 2, error)) return false;
    if (max_tokens >= 1) return true;
    *error = ad_text_of("max_tokens: expected 1 or more");
    return false;
}

static ad_outcome ad_validate(const ad_record *record) {
    /* The ideographic blank is one too. */
    ad_text trimmed = ad_trim(record->output);
    if (trimmed.length == 0) return ad_reject(ad_drop("empty_answer"));
    uint32_t tokens = ad_count_tokens(trimmed);
    if (tokens > max_tokens) {
        ad_builder note = {NULL, 0, 0};
        ad_append_number(&note, tokens);
        ad_append_string(&note, " tokens");
        return ad_reject(ad_drop_for("too_long", ad_built(&note), tokens));
    }
    if (trim && trimmed.length != record->output.length) return ad_correct(trimmed, ad_text_of("blanks around it are gone"));
    return ad_accept();
}
