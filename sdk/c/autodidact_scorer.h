/* Scorers: give records numbers. */
#ifndef AUTODIDACT_SCORER_H
#define AUTODIDACT_SCORER_H

/* What a record is worth. */
typedef struct {
    bool has_value; /* false where it cannot be told */
    double value;   /* finite */
    ad_text note;   /* what it rests on, in words for people; empty for none */
} ad_score;

/* Scores one record: ad_worth(value) or ad_unknown("why"). */
static ad_score ad_score_of(const ad_record *record);

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
    uint32_t records = ends_length / AD_FIELDS;
    ad_laid_score *scores = ad_take(8, records * sizeof *scores);
    for (uint32_t r = 0; r < records; r++) {
        ad_record record = ad_record_of(&batch, r);
        ad_score score = ad_score_of(&record);
        scores[r].value.has_number = score.has_value;
        scores[r].value.number = score.value;
        scores[r].note = ad_option(score.note);
    }
    return ad_ok(scores, records);
}

AD_EXPORT("cabi_post_autodidact:plugin/scorer@0.1.0#score")
void ad_post_score(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
