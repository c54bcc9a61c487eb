/* Filters: keep or drop records. */
#ifndef AUTODIDACT_FILTER_H
#define AUTODIDACT_FILTER_H

/* Decides on one record: ad_keep() or ad_drop("reason"). */
static ad_decision ad_decide(const ad_record *record);

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
    uint32_t records = ends_length / AD_FIELDS;
    ad_laid_decision *decisions = ad_take(8, records * sizeof *decisions);
    for (uint32_t r = 0; r < records; r++) {
        ad_record record = ad_record_of(&batch, r);
        ad_decision decision = ad_decide(&record);
        decisions[r].drop_reason = ad_option(decision.drop_reason);
        decisions[r].note = ad_option(decision.note);
        decisions[r].score.has_number = decision.has_score;
        decisions[r].score.number = decision.score;
    }
    return ad_ok(decisions, records);
}

AD_EXPORT("cabi_post_autodidact:plugin/filter@0.1.0#filter")
void ad_post_filter(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
