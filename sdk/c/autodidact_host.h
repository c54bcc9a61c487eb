/* What a person may grant; include it after autodidact_plugin.h, and name what is used in AD_CAPABILITIES. A component imports only what
 * it calls. */
#ifndef AUTODIDACT_HOST_H
#define AUTODIDACT_HOST_H

#define AD_IMPORT(interface, function) \
    __attribute__((import_module("autodidact:plugin/" interface "@0.1.0"), import_name(function)))

enum { AD_DEBUG, AD_INFO, AD_WARN, AD_ERROR };

AD_IMPORT("log", "log") void ad_host_log(uint32_t level, const char *message, uint32_t length);

/* Writes a line into the daemon's log: AD_USES_LOG. */
static inline void ad_log(uint32_t level, ad_text message) { ad_host_log(level, message.bytes, message.length); }

/* What to generate, as the canonical ABI lays it out: the likeliest answer where only the prompt and max_tokens are set. */
typedef struct {
    uint32_t is_chat;
    const void *prompt; /* bytes, or turns */
    uint32_t prompt_length;
    uint32_t max_tokens;
    float temperature, top_p;
    uint64_t seed;
    const ad_text *stop;
    uint32_t stop_length;
    const ad_text *choices; /* where there are any, the completion is one of these */
    uint32_t choices_length;
} ad_generation;

typedef struct {
    ad_text text;
    uint8_t is_cut;
} ad_generated;

_Static_assert(sizeof(ad_generation) == 48 && sizeof(ad_generated) == 12, "as the canonical ABI lays them out");

AD_IMPORT("model", "generate") void ad_host_generate(const ad_generation *requests, uint32_t length, ad_result *result);

/* A question to the model, for ad_generate. The text of the question has to stay. */
static inline ad_generation ad_question(ad_text text, uint32_t max_tokens) {
    struct { uint8_t role; ad_text content; } *turn = ad_take(4, sizeof *turn);
    turn->role = 1; /* user */
    turn->content = text;
    ad_generation generation = {1, turn, 1, max_tokens, 0, 1, 0, NULL, 0, NULL, 0};
    return generation;
}

/* Asks the model: AD_USES_GENERATE. Gives a text for each request, or NULL and in *error why there is none. Ask for a whole batch at
 * once; what it costs is taken off the plugin's budget. */
static inline const ad_generated *ad_generate(const ad_generation *requests, uint32_t length, ad_text *error) {
    ad_result result;
    ad_host_generate(requests, length, &result);
    if (!result.is_error) return result.list;
    error->bytes = result.list;
    error->length = result.length;
    return NULL;
}

#endif
