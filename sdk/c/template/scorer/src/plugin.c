/* Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted. */
#define AD_NAME "{{name}}"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA                                                                                               \
    "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"                                        \
    "\"field\": {\"description\": \"Which text is scored.\", "                                                         \
    "\"enum\": [\"instruction\", \"output\"], \"default\": \"output\"}, "                                              \
    "\"target_tokens\": {\"description\": \"The tokens that are worth 1: a word, a number, or one Chinese character.\", " \
    "\"type\": \"integer\", \"minimum\": 1, \"default\": 60}}}"
#define AD_SCORER
#include "autodidact_plugin.h"

static bool is_instruction;
static int64_t target_tokens;

static bool ad_configure(ad_text config, ad_text *error) {
    ad_text field = ad_text_of("output");
    target_tokens = 60;
    ad_setting settings[] = {{"field", AD_STRING, &field}, {"target_tokens", AD_INTEGER, &target_tokens}};
    if (!ad_read_config(config, settings, 2, error)) return false;
    is_instruction = ad_is(field, "instruction");
    if (!is_instruction && !ad_is(field, "output")) {
        *error = ad_text_of("field: expected instruction or output");
        return false;
    }
    if (target_tokens >= 1) return true;
    *error = ad_text_of("target_tokens: expected 1 or more");
    return false;
}

static ad_score ad_score_of(const ad_record *record) {
    ad_text text = is_instruction ? record->instruction : record->output;
    if (text.length == 0) return ad_unknown(is_instruction ? "there is no instruction" : "there is no output");
    uint32_t tokens = ad_count_tokens(text);
    ad_score score = ad_worth(tokens < target_tokens ? (double)tokens / (double)target_tokens : 1);
    ad_builder note = {NULL, 0, 0};
    ad_append_number(&note, tokens);
    ad_append_string(&note, " tokens");
    score.note = ad_built(&note);
    return score;
}
