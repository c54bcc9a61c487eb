/* Writes Autodidact plugins in C: headers, no libraries.
 *
 * A plugin says who it is and of what kinds, and answers for one record at a time; this header does the rest:
 *
 *     #define AD_NAME "shout"
 *     #define AD_VERSION "0.1.0"
 *     #define AD_CONFIG_SCHEMA ""
 *     #define AD_FILTER
 *     #include "autodidact_plugin.h"
 *
 *     static ad_decision ad_decide(const ad_record *record) {
 *         return ad_contains(record->instruction, "!!!") ? ad_drop("shouts") : ad_keep();
 *     }
 *
 *     static bool ad_configure(ad_text config, ad_text *error) {
 *         return ad_read_config(config, NULL, 0, error);
 *     }
 *
 * The kinds are AD_FILTER, AD_VALIDATOR, AD_SCORER and AD_TEMPLATE, one or more of them, and what has to be defined for each stands
 * below. With AD_WHOLE_BATCHES they answer for a whole batch at a time, as is best for what asks the model. Build it for
 * wasm32-freestanding with -Wl,--no-entry; the core module that comes out is installed as it is. Nothing of the standard library is
 * there. An answer must follow from the configuration and the record alone.
 */
#ifndef AUTODIDACT_PLUGIN_H
#define AUTODIDACT_PLUGIN_H

#include "autodidact_text.h"

/* Every plugin: keeps the settings of a configuration, in variables of its own, or leaves in *error what to mend. Called once for each
 * configuration that differs from the last one; its text stays where it is until the next. */
static bool ad_configure(ad_text config, ad_text *error);

/* One record; texts are empty where there is nothing. */
typedef struct {
    ad_text instruction; /* what to do */
    ad_text input;       /* what to do it to */
    ad_text output;      /* the answer; empty before answers are generated */
    ad_text language;    /* the ISO 639-1 code of the instruction's language */
    ad_text task_type;   /* the form of the task, such as classification */
    ad_text topic;       /* what it is about */
    ad_text labels;      /* the labels that a classification may have, one a line */
} ad_record;

/* Keep or drop, with what it rests on. */
typedef struct {
    ad_text drop_reason; /* empty keeps; a code in snake case drops */
    ad_text note;        /* in words for people; empty for none */
    bool has_score;
    double score; /* the number that crossed a threshold; finite */
} ad_decision;

static inline ad_decision ad_keep(void) {
    ad_decision decision = {{"", 0}, {"", 0}, false, 0};
    return decision;
}

/* Drops for a reason: snake case, at most 64 bytes, starting with a letter. */
static inline ad_decision ad_drop(const char *reason) {
    ad_decision decision = ad_keep();
    decision.drop_reason = ad_text_of(reason);
    return decision;
}

/* Drops for a reason, with what it rests on in words for people and the number that crossed a threshold. */
static inline ad_decision ad_drop_for(const char *reason, ad_text note, double score) {
    ad_decision decision = {ad_text_of(reason), note, true, score};
    return decision;
}

#include "autodidact_abi.h"
#include "autodidact_config.h"
#ifdef AD_FILTER
#include "autodidact_filter.h"
#endif
#ifdef AD_VALIDATOR
#include "autodidact_validator.h"
#endif
#ifdef AD_SCORER
#include "autodidact_scorer.h"
#endif
#ifdef AD_TEMPLATE
#include "autodidact_template.h"
#endif

#if !defined(AD_FILTER) && !defined(AD_VALIDATOR) && !defined(AD_SCORER) && !defined(AD_TEMPLATE)
#error "define one or more of AD_FILTER, AD_VALIDATOR, AD_SCORER and AD_TEMPLATE before autodidact_plugin.h"
#endif

#endif
