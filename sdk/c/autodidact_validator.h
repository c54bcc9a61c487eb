/* Validators: accept, correct or drop answered records. */
#ifndef AUTODIDACT_VALIDATOR_H
#define AUTODIDACT_VALIDATOR_H

/* What becomes of a record. */
typedef struct {
    bool is_corrected;
    ad_text output;       /* the answer to go on with where it is corrected */
    ad_decision decision; /* otherwise; its note counts for both */
} ad_outcome;

#ifdef AD_WHOLE_BATCHES
/* Judges each record of a batch, or leaves in *error why not; what is left as it is accepts its record. */
static bool ad_validate_all(const ad_record *records, uint32_t length, ad_outcome *outcomes, ad_text *error);
#else
/* Judges one record: ad_accept(), ad_correct(output, note) or ad_reject(ad_drop("reason")). */
static ad_outcome ad_validate(const ad_record *record);

static bool ad_validate_all(const ad_record *records, uint32_t length, ad_outcome *outcomes, ad_text *error) {
    (void)error;
    for (uint32_t r = 0; r < length; r++) outcomes[r] = ad_validate(&records[r]);
    return true;
}
#endif

static inline ad_outcome ad_reject(ad_decision decision) {
    ad_outcome outcome = {false, {"", 0}, decision};
    return outcome;
}

static inline ad_outcome ad_accept(void) { return ad_reject(ad_keep()); }

/* Lets the record go on with another answer; the first one is kept beside it. */
static inline ad_outcome ad_correct(ad_text output, ad_text note) {
    ad_outcome outcome = {true, output, ad_keep()};
    outcome.decision.note = note;
    return outcome;
}

typedef struct {
    uint8_t tag; /* 0 accepts, 1 corrects, 2 drops */
    struct {
        ad_text text; /* the new answer, or the reason */
        ad_option_text note;
        ad_option_number score;
    } payload;
} ad_laid_outcome;

_Static_assert(sizeof(ad_laid_outcome) == 48, "as the canonical ABI lays it out");

AD_EXPORT("autodidact:plugin/validator@0.1.0#validate")
ad_result *ad_export_validate(const char *config, uint32_t config_length, const char *text, uint32_t text_length, const uint32_t *ends,
                              uint32_t ends_length) {
    ad_result *error = ad_configured(config, config_length);
    if (error != NULL) return error;
    ad_batch batch = {text, text_length, ends, ends_length};
    uint32_t length = ends_length / AD_FIELDS;
    ad_outcome *outcomes = ad_take_zeros(8, length * sizeof *outcomes);
    ad_text problem = {"", 0};
    if (!ad_validate_all(ad_records_of(&batch), length, outcomes, &problem)) return ad_failed(problem);
    ad_laid_outcome *laid = ad_take(8, length * sizeof *laid);
    for (uint32_t r = 0; r < length; r++) {
        ad_decision decision = outcomes[r].decision;
        laid[r].tag = outcomes[r].is_corrected ? 1 : decision.drop_reason.length > 0 ? 2 : 0;
        laid[r].payload.text = outcomes[r].is_corrected ? outcomes[r].output : decision.drop_reason;
        laid[r].payload.note = ad_option(decision.note);
        laid[r].payload.score.has_number = decision.has_score;
        laid[r].payload.score.number = decision.score;
    }
    return ad_ok(laid, length);
}

AD_EXPORT("cabi_post_autodidact:plugin/validator@0.1.0#validate")
void ad_post_validate(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
