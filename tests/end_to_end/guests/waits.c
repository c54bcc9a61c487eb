/* Asks the model for far more than there is time for: an instruction's first letter says of what. */
#define AD_NAME "waits"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA ""
#define AD_CAPABILITIES AD_USES_GENERATE, AD_USES_EMBED, AD_USES_SCORE
#define AD_FILTER
#define AD_WHOLE_BATCHES
#include "autodidact_plugin.h"
#include "autodidact_host.h"

enum { ASKED = 256, WORDS = 500 };

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }

static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error) {
    ad_builder builder = {0};
    for (uint32_t w = 0; w < WORDS; w++) ad_append_string(&builder, "word ");
    ad_text text = ad_built(&builder);
    ad_generation *requests = ad_take(8, ASKED * sizeof *requests);
    ad_text *texts = ad_take(4, ASKED * sizeof *texts);
    ad_continuation *continuations = ad_take(4, ASKED * sizeof *continuations);
    for (uint32_t i = 0; i < ASKED; i++) {
        requests[i] = ad_likeliest(text, 1000);
        texts[i] = text;
        continuations[i].prompt = ad_question(text);
        continuations[i].text = text;
    }
    for (uint32_t r = 0; r < length; r++) {
        char letter = records[r].instruction.length ? records[r].instruction.bytes[0] : 0;
        if (letter == 'G' && ad_generate(requests, ASKED, error) == NULL) return false;
        if (letter == 'E' && ad_embed(texts, ASKED, error) == NULL) return false;
        if (letter == 'S' && ad_measure(continuations, ASKED, error) == NULL) return false;
        decisions[r] = ad_keep();
    }
    return true;
}
