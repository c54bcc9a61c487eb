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

/* Gives the list of a result, or NULL and in *error why there is none. */
static inline const void *ad_list_of(const ad_result *result, ad_text *error) {
    if (!result->is_error) return result->list;
    error->bytes = result->list;
    error->length = result->length;
    return NULL;
}

/* What the model is asked, as the canonical ABI lays it out. */
typedef struct {
    uint32_t is_chat;
    const void *start; /* bytes, or turns */
    uint32_t length;
} ad_prompt;

/* A question, in the form that the model was trained on. */
static inline ad_prompt ad_question(ad_text text) {
    struct { uint8_t role; ad_text content; } *turn = ad_take(4, sizeof *turn);
    turn->role = 1; /* user */
    turn->content = text;
    ad_prompt prompt = {1, turn, 1};
    return prompt;
}

/* A text to go on with, as it is. */
static inline ad_prompt ad_start(ad_text text) {
    ad_prompt prompt = {0, text.bytes, text.length};
    return prompt;
}

/* What to generate. */
typedef struct {
    ad_prompt prompt;
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

/* A text whose likelihood after a prompt is wanted. */
typedef struct {
    ad_prompt prompt;
    ad_text text;
} ad_continuation;

/* How likely a text is. */
typedef struct {
    double log_probability; /* the sum of its tokens' natural log probabilities */
    uint32_t tokens;
} ad_likelihood;

/* A vector of length 1. */
typedef struct {
    const float *values;
    uint32_t length;
} ad_vector;

_Static_assert(sizeof(ad_generation) == 48 && sizeof(ad_generated) == 12 && sizeof(ad_continuation) == 20 &&
                   sizeof(ad_likelihood) == 16 && sizeof(ad_vector) == 8,
               "as the canonical ABI lays them out");

AD_IMPORT("model", "generate") void ad_host_generate(const ad_generation *requests, uint32_t length, ad_result *result);
AD_IMPORT("model", "embed") void ad_host_embed(const ad_text *texts, uint32_t length, ad_result *result);
AD_IMPORT("model", "score") void ad_host_score(const ad_continuation *continuations, uint32_t length, ad_result *result);

/* The likeliest answer to a question. */
static inline ad_generation ad_likeliest(ad_text question, uint32_t max_tokens) {
    ad_generation generation = {ad_question(question), max_tokens, 0, 1, 0, NULL, 0, NULL, 0};
    return generation;
}

/* Asks the model: AD_USES_GENERATE. Gives a text for each request, or NULL and in *error why there is none. What it costs is taken off
 * the plugin's budget, as with the next two. Ask for a whole batch at once (AD_WHOLE_BATCHES), of 256 at most. */
static inline const ad_generated *ad_generate(const ad_generation *requests, uint32_t length, ad_text *error) {
    ad_result result;
    ad_host_generate(requests, length, &result);
    return ad_list_of(&result, error);
}

/* Embeds texts: AD_USES_EMBED. Gives a vector for each, or NULL. */
static inline const ad_vector *ad_embed(const ad_text *texts, uint32_t length, ad_text *error) {
    ad_result result;
    ad_host_embed(texts, length, &result);
    return ad_list_of(&result, error);
}

/* Measures how likely texts are: AD_USES_SCORE. Gives a likelihood for each, or NULL. */
static inline const ad_likelihood *ad_measure(const ad_continuation *continuations, uint32_t length, ad_text *error) {
    ad_result result;
    ad_host_score(continuations, length, &result);
    return ad_list_of(&result, error);
}

typedef struct {
    const ad_text *names;
    uint32_t length;
} ad_names;

AD_IMPORT("data", "files") void ad_host_files(ad_names *result);
AD_IMPORT("data", "read") void ad_host_read(const char *name, uint32_t name_length, ad_result *result);

/* Names the files that may be read, sorted: AD_USES_DATA. */
static inline ad_names ad_files(void) {
    ad_names files;
    ad_host_files(&files);
    return files;
}

/* Reads a whole file into *content: AD_USES_DATA. Where that cannot be, gives false and in *error why. */
static inline bool ad_read(ad_text name, ad_text *content, ad_text *error) {
    ad_result result;
    ad_host_read(name.bytes, name.length, &result);
    const void *bytes = ad_list_of(&result, error);
    if (bytes == NULL) return false;
    content->bytes = bytes;
    content->length = result.length;
    return true;
}

#endif
