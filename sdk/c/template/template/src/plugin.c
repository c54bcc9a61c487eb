/* Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back. */
#define AD_NAME "{{name}}"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA                                                                                                     \
    "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"                                              \
    "\"count\": {\"description\": \"How many instructions a prompt asks for; 0 for as many as the workflow wants.\", "       \
    "\"type\": \"integer\", \"minimum\": 0, \"maximum\": 100, \"default\": 0}, "                                             \
    "\"demand\": {\"description\": \"A sentence about what new instructions must be like besides.\", "                       \
    "\"type\": \"string\", \"default\": \"\"}}}"
#define AD_TEMPLATE
#include "autodidact_plugin.h"

/* What a prompt says in a language: numbers and kinds go between the parts. */
typedef struct {
    const char *language, *opening[2], *demand, *kind[2], *known, *closing[2];
} words;

static const words ALL_WORDS[] = {
    {"en",
     {"Write ", " new tasks for an assistant that can only read and write text.\n"},
     "Each task can be finished with words alone, and says all that is needed to do it.\n",
     {"They are of this kind: ", ".\n"},
     "\nThese tasks are taken:\n",
     {"\nGo on with a numbered list from ", ", a task on each line, and write nothing else."}},
    {"zh",
     {"请为一个只会读写文字的助手写 ", " 个新任务。\n"},
     "每个任务只用文字就能完成，并且把要做的事说清楚。\n",
     {"类别：", "。\n"},
     "\n已经有的任务：\n",
     {"\n请接着第 ", " 条写成编号列表，一行一个任务，不要写别的。"}},
};

static int64_t count;
static ad_text demand;

static bool ad_configure(ad_text config, ad_text *error) {
    count = 0;
    demand = ad_text_of("");
    ad_setting settings[] = {{"count", AD_INTEGER, &count}, {"demand", AD_STRING, &demand}};
    if (!ad_read_config(config, settings, 2, error)) return false;
    if (count >= 0 && count <= 100) return true;
    *error = ad_text_of("count: expected 0 to 100");
    return false;
}

/* Writes an instruction on one line. */
static void append_on_one_line(ad_builder *prompt, ad_text text) {
    bool is_gap = false;
    text = ad_trim(text);
    for (uint32_t at = 0; at < text.length;) {
        uint32_t start = at;
        bool is_blank = ad_is_blank(ad_next_character(text, &at));
        if (is_gap && !is_blank) ad_append_string(prompt, " ");
        if (!is_blank) ad_append(prompt, ad_part(text, start, at));
        is_gap = is_blank;
    }
}

static void append_kind(ad_builder *prompt, const words *said, const ad_request *request) {
    if (request->task_type.length == 0 && request->topic.length == 0) return;
    ad_append_string(prompt, said->kind[0]);
    for (uint32_t i = 0; i < request->task_type.length; i++) {
        bool is_gap = request->task_type.bytes[i] == '_';
        ad_append(prompt, is_gap ? ad_text_of(" ") : ad_part(request->task_type, i, i + 1));
    }
    if (request->task_type.length > 0 && request->topic.length > 0) ad_append_string(prompt, ", ");
    ad_append(prompt, request->topic);
    ad_append_string(prompt, said->kind[1]);
}

static bool ad_render(const ad_request *request, ad_rendered *rendered, ad_text *error) {
    const words *said = ad_is(request->language, "en") ? &ALL_WORDS[0] : &ALL_WORDS[1];
    if (!ad_is(request->language, said->language)) {
        *error = ad_text_of("there are words for en and zh only");
        return false;
    }
    ad_builder prompt = {NULL, 0, 0};
    ad_append_string(&prompt, said->opening[0]);
    ad_append_number(&prompt, count > 0 ? (uint64_t)count : request->count);
    ad_append_string(&prompt, said->opening[1]);
    ad_append_string(&prompt, said->demand);
    ad_append(&prompt, demand);
    if (demand.length > 0) ad_append_string(&prompt, "\n");
    append_kind(&prompt, said, request);
    ad_append_string(&prompt, said->known);
    for (uint32_t i = 0; i < request->examples_length; i++) {
        ad_append_number(&prompt, i + 1);
        ad_append_string(&prompt, ". ");
        append_on_one_line(&prompt, request->examples[i].instruction);
        ad_append_string(&prompt, "\n");
    }
    ad_append_string(&prompt, said->closing[0]);
    ad_append_number(&prompt, request->examples_length + 1);
    ad_append_string(&prompt, said->closing[1]);
    *rendered = ad_ask(ad_built(&prompt));
    return true;
}

/* Takes a number off a line: `3.`, `3)`, `３．`, `3、`, `（3）`; not that of `3.5 metres`. Gives an empty text where there is none. */
static ad_text after_number(ad_text line) {
    ad_text none = {"", 0};
    uint32_t at = 0, character = 0, digits = 0;
    do {
        if (at == line.length) return none;
        character = ad_next_character(line, &at);
    } while (ad_is_blank(character) || character == '*' || ad_fold_width(character) == '(');
    for (; ad_is_digit(character) && at < line.length; digits++) character = ad_next_character(line, &at);
    uint32_t mark = ad_fold_width(character), ahead = at;
    bool is_mark = mark == '.' || mark == ')' || mark == ':' || character == 0x3001;
    if (digits < 1 || digits > 3 || !is_mark || at == line.length) return none;
    if (character == '.' && ad_is_digit(ad_next_character(line, &ahead))) return none;
    while (at < line.length && line.bytes[at] == '*') at++;
    return ad_trim(ad_part(line, at, line.length));
}

static bool ends_sentence(ad_text text) {
    uint32_t last = 0;
    for (uint32_t at = 0; at < text.length;) last = ad_next_character(text, &at);
    uint32_t narrow = ad_fold_width(last);
    return narrow == '.' || narrow == '!' || narrow == '?' || last == 0x3002 || last == '"' || last == 0x201D;
}

static bool ad_parse(const ad_completion *completion, ad_items *items, ad_text *error) {
    (void)error;
    ad_text text = completion->text;
    for (uint32_t start = 0; start < text.length;) {
        uint32_t end = start;
        while (end < text.length && text.bytes[end] != '\n') end++;
        ad_text item = after_number(ad_part(text, start, end));
        if (item.length > 0) ad_add_item(items, item);
        start = end + 1;
    }
    /* The last one of a text that was cut counts where it is whole. */
    bool is_open = items->length > 0 && !ends_sentence(items->items[items->length - 1].instruction);
    if (completion->is_cut && is_open) items->length--;
    return true;
}
