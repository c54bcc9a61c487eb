/* Filters: keep or drop records. */
#ifndef AUTODIDACT_FILTER_H
#define AUTODIDACT_FILTER_H

#ifdef AD_WHOLE_BATCHES
/* Decides on each record of a batch, or leaves in *error why not; what is left as it is keeps its record. */
static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error);
#else
/* Decides on one record: ad_keep() or ad_drop("reason"). */
static ad_decision ad_decide(const ad_record *record);

static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error) {
    (void)error;
    for (uint32_t r = 0; r < length; r++) decisions[r] = ad_decide(&records[r]);
    return true;
}
#endif

typedef struct {
    ad_option_text drop_reason, note;
    ad_option_number score;
} ad_laid_decision;

_Static_assert(sizeof(ad_laid_decision) == 40, "as the canonical ABI lays it out");

AD_EXPORT("autodidact:plugin/filter@0.1.0#filter")
ad_result *ad_export_filter(const char *config, uint32_t config_length, const char *text, uint32_t text_length, const uint32_t *ends,
                            uint32_t ends_length) {
    ad_result *error = ad_configured(config, config_length);
    if (error != NULL) return error;
    ad_batch batch = {text, text_length, ends, ends_length};
    uint32_t length = ends_length / AD_FIELDS;
    ad_decision *decisions = ad_take_zeros(8, length * sizeof *decisions);
    ad_text problem = {"", 0};
    if (!ad_decide_all(ad_records_of(&batch), length, decisions, &problem)) return ad_failed(problem);
    ad_laid_decision *laid = ad_take(8, length * sizeof *laid);
    for (uint32_t r = 0; r < length; r++) {
        laid[r].drop_reason = ad_option(decisions[r].drop_reason);
        laid[r].note = ad_option(decisions[r].note);
        laid[r].score.has_number = decisions[r].has_score;
        laid[r].score.number = decisions[r].score;
    }
    return ad_ok(laid, length);
}

AD_EXPORT("cabi_post_autodidact:plugin/filter@0.1.0#filter")
void ad_post_filter(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
