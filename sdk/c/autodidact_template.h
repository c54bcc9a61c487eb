/* Templates: write the prompts that ask a model for new instructions, and read what comes back. */
#ifndef AUTODIDACT_TEMPLATE_H
#define AUTODIDACT_TEMPLATE_H

/* These have the canonical ABI's layout, so that they are read where they lie. */

/* An example to show in the prompt; texts are empty where there is nothing. */
typedef struct {
    ad_text instruction, input, output, task_type, topic;
} ad_example;

/* What a prompt is to ask for. */
typedef struct {
    ad_text language; /* the ISO 639-1 code, such as en or zh */
    const ad_example *examples;
    uint32_t examples_length;
    ad_text task_type; /* the form of task that is wanted; empty for any */
    ad_text topic;     /* what it is to be about; empty for anything */
    uint32_t count;    /* how many new instructions are wanted */
    uint64_t seed;     /* for templates that choose among wordings */
} ad_request;

enum { AD_SYSTEM, AD_USER, AD_ASSISTANT };

/* A turn of a conversation. */
typedef struct {
    uint8_t role;
    ad_text content;
} ad_message;

/* A request, written out; ad_ask, ad_chat and ad_go_on make it. */
typedef struct {
    uint8_t is_chat;
    const void *prompt;
    uint32_t prompt_length;
    const ad_text *stop; /* texts at which the model stops */
    uint32_t stop_length;
} ad_rendered;

/* What a model said to a request. */
typedef struct {
    ad_request request;
    ad_text text;
    uint8_t is_cut; /* it had as many tokens as it may have */
} ad_completion;

/* A new instruction; its form and topic where the model says them, empty for the request's. */
typedef struct {
    ad_text instruction, task_type, topic;
} ad_item;

/* Items of a completion; start with zeros. */
typedef struct {
    ad_item *items;
    uint32_t length, room;
} ad_items;

_Static_assert(sizeof(ad_request) == 48 && sizeof(ad_rendered) == 20 && sizeof(ad_completion) == 64 && sizeof(ad_item) == 24,
               "as the canonical ABI lays them out");

/* Writes the prompt of a request, or leaves in *error why there is none. */
static bool ad_render(const ad_request *request, ad_rendered *rendered, ad_text *error);
/* Reads the items of a completion, or leaves in *error why it cannot be read. */
static bool ad_parse(const ad_completion *completion, ad_items *items, ad_text *error);

/* Shows a model a conversation; the model says the next turn. The turns have to stay where they are, in memory of ad_take. */
static inline ad_rendered ad_chat(const ad_message *turns, uint32_t length) {
    ad_rendered rendered = {1, turns, length, NULL, 0};
    return rendered;
}

/* Asks a model in the form that it was trained on. */
static inline ad_rendered ad_ask(ad_text text) {
    ad_message *turn = ad_take(4, sizeof *turn);
    turn->role = AD_USER;
    turn->content = text;
    return ad_chat(turn, 1);
}

/* Shows a model a text to go on with, as it is. */
static inline ad_rendered ad_go_on(ad_text text) {
    ad_rendered rendered = {0, text.bytes, text.length, NULL, 0};
    return rendered;
}

static inline void ad_add_item(ad_items *items, ad_text instruction) {
    if (items->length == items->room) {
        items->room = 2 * items->room + 8;
        ad_item *moved = ad_take(4, items->room * sizeof *moved);
        for (uint32_t i = 0; i < items->length; i++) moved[i] = items->items[i];
        items->items = moved;
    }
    ad_item item = {instruction, {"", 0}, {"", 0}};
    items->items[items->length++] = item;
}

AD_EXPORT("autodidact:plugin/template@0.1.0#render")
ad_result *ad_export_render(const char *config, uint32_t config_length, const ad_request *requests, uint32_t length) {
    ad_result *wrong = ad_configured(config, config_length);
    if (wrong != NULL) return wrong;
    ad_rendered *rendered = ad_take(4, length * sizeof *rendered);
    for (uint32_t i = 0; i < length; i++) {
        ad_text error = {"", 0};
        if (!ad_render(&requests[i], &rendered[i], &error)) return ad_failed(error);
    }
    return ad_ok(rendered, length);
}

AD_EXPORT("cabi_post_autodidact:plugin/template@0.1.0#render")
void ad_post_render(ad_result *result) {
    (void)result;
    ad_free_all();
}

typedef struct {
    const ad_item *items;
    uint32_t length;
} ad_laid_items;

AD_EXPORT("autodidact:plugin/template@0.1.0#parse")
ad_result *ad_export_parse(const char *config, uint32_t config_length, const ad_completion *completions, uint32_t length) {
    ad_result *wrong = ad_configured(config, config_length);
    if (wrong != NULL) return wrong;
    ad_laid_items *read = ad_take(4, length * sizeof *read);
    for (uint32_t i = 0; i < length; i++) {
        ad_text error = {"", 0};
        ad_items items = {NULL, 0, 0};
        if (!ad_parse(&completions[i], &items, &error)) return ad_failed(error);
        read[i].items = items.items;
        read[i].length = items.length;
    }
    return ad_ok(read, length);
}

AD_EXPORT("cabi_post_autodidact:plugin/template@0.1.0#parse")
void ad_post_parse(ad_result *result) {
    (void)result;
    ad_free_all();
}

#endif
