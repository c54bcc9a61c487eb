/* Scorers: give records numbers. */
#ifndef AUTODIDACT_SCORER_H
#define AUTODIDACT_SCORER_H

/* What a record is worth. */
typedef struct {
    bool has_value; /* false where it cannot be told */
    double value;   /* finite */
    ad_text note;   /* what it rests on, in words for people; empty for none */
} ad_score;

#ifdef AD_WHOLE_BATCHES
/* Scores each record of a batch, or leaves in *error why not. */
static bool ad_score_all(const ad_record *records, uint32_t length, ad_score *scores, ad_text *error);
#else
/* Scores one record: ad_worth(value) or ad_unknown("why"). */
static ad_score ad_score_of(const ad_record *record);

static bool ad_score_all(const ad_record *records, uint32_t length, ad_score *scores, ad_text *error) {
    (void)error;
    for (uint32_t r = 0; r < length; r++) scores[r] = ad_score_of(&records[r]);
    return true;
}
#endif

static inline ad_score ad_worth(double value) {
    ad_score score = {true, value, {"", 0}};
    return score;
}

static inline ad_score ad_unknown(const char *why) {
    ad_score score = {false, 0, ad_text_of(why)};
    return score;
}

typedef struct {
    ad_option_number value;
    ad_option_text note;
} ad_laid_score;

_Static_assert(sizeof(ad_laid_score) == 32, "as the canonical ABI lays it out");

AD_EXPORT("autodidact:plugin/scorer@0.1.0#score")
ad_result *ad_export_score(const char *config, uint32_t config_length, const char *text, uint32_t text_length, const uint32_t *ends,
                           uint32_t ends_length) {
    ad_result *error = ad_configured(config, config_length);
    if (error != NULL) return error;
    ad_batch batch = {text, text_length, ends, ends_length};
    uint32_t length = ends_length / AD_FIELDS;
    ad_score *scores = ad_take_zeros(8, length * sizeof *scores);
    ad_text problem = {"", 0};
    if (!ad_score_all(ad_records_of(&batch), length, scores, &problem)) return ad_failed(problem);
    ad_laid_score *laid = ad_take(8, length * sizeof *laid);
    for (uint32_t r = 0; r < length; r++) {
        laid[r].value.has_number = scores[r].has_value;
        laid[r].value.number = scores[r].value;
        laid[r].note = ad_option(scores[r].note);
    }
    return ad_ok(laid, length);
}

AD_EXPORT("cabi_post_autodidact:plugin/scorer@0.1.0#score")
void ad_post_score(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
