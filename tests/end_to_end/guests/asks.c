/* Uses all that a person may grant, and says in each decision what came of it. */
#define AD_NAME "asks-c"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA ""
#define AD_CAPABILITIES AD_USES_LOG, AD_USES_GENERATE, AD_USES_EMBED, AD_USES_SCORE, AD_USES_DATA
#define AD_FILTER
#define AD_WHOLE_BATCHES
#include "autodidact_plugin.h"
#include "autodidact_host.h"

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }

static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error) {
    ad_log(AD_INFO, ad_text_of("asked"));
    ad_text *choices = ad_take(4, 2 * sizeof *choices);
    choices[0] = ad_text_of("yes");
    choices[1] = ad_text_of("no");
    ad_generation *requests = ad_take(8, length * sizeof *requests);
    ad_text *instructions = ad_take(4, length * sizeof *instructions);
    ad_continuation *continuations = ad_take(4, length * sizeof *continuations);
    for (uint32_t r = 0; r < length; r++) {
        requests[r] = ad_likeliest(records[r].instruction, 4);
        requests[r].choices = choices;
        requests[r].choices_length = 2;
        instructions[r] = records[r].instruction;
        continuations[r].prompt = ad_question(records[r].instruction);
        continuations[r].text = ad_text_of("好 Yes.");
    }
    const ad_generated *said = ad_generate(requests, length, error);
    if (said == NULL) return false;
    const ad_vector *vectors = ad_embed(instructions, length, error);
    if (vectors == NULL) return false;
    const ad_likelihood *likelihoods = ad_measure(continuations, length, error);
    if (likelihoods == NULL) return false;
    ad_names files = ad_files();
    ad_text content, nothing, why;
    if (!ad_read(files.names[0], &content, error)) return false;
    if (ad_read(ad_text_of("none"), &nothing, &why)) return false;
    for (uint32_t r = 0; r < length; r++) {
        double square = 0;
        for (uint32_t i = 0; i < vectors[r].length; i++) square += (double)vectors[r].values[i] * vectors[r].values[i];
        ad_builder note = {0};
        ad_append(&note, said[r].text);
        ad_append_string(&note, "; ");
        ad_append_number(&note, vectors[r].length);
        ad_append_string(&note, " numbers, ");
        ad_append_number(&note, (uint64_t)(square * 100 + 0.5));
        ad_append_string(&note, "; ");
        ad_append_number(&note, likelihoods[r].tokens);
        ad_append_string(&note, " tokens; ");
        ad_append(&note, files.names[0]);
        ad_append_string(&note, ": ");
        ad_append(&note, content);
        ad_append_string(&note, "; ");
        ad_append(&note, why);
        decisions[r].note = ad_built(&note);
        decisions[r].has_score = true;
        decisions[r].score = likelihoods[r].log_probability;
    }
    return true;
}
