/* Reads configurations: JSON objects whose settings are numbers, texts and truth values. */
#ifndef AUTODIDACT_CONFIG_H
#define AUTODIDACT_CONFIG_H

/* What a setting is, and what `value` points at. */
enum {
    AD_INTEGER, /* an int64_t */
    AD_NUMBER,  /* a double */
    AD_BOOL,    /* a bool */
    AD_STRING,  /* an ad_text */
};

typedef struct {
    const char *name;
    int kind;
    void *value; /* holds the default until the configuration says something else */
} ad_setting;

typedef struct {
    ad_text text;
    uint32_t at;
} ad_json;

static inline char ad_json_peek(ad_json *json) {
    while (json->at < json->text.length && ad_is_blank((unsigned char)json->text.bytes[json->at])) json->at++;
    return json->at < json->text.length ? json->text.bytes[json->at] : 0;
}

static inline bool ad_json_take(ad_json *json, char wanted) {
    if (ad_json_peek(json) != wanted) return false;
    json->at++;
    return true;
}

static inline uint32_t ad_json_unicode(ad_json *json) {
    uint32_t unit = 0;
    for (int i = 0; i < 4 && json->at < json->text.length; i++) {
        char c = json->text.bytes[json->at++];
        unit = unit << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return unit;
}

/* Where texts with escapes are written anew, each at the place that it has in the configuration: settings outlive a call's memory. */
static char ad_unescaped[AD_MAX_CONFIG];

/* Writes a character in UTF-8, and gives its length. */
static inline uint32_t ad_write_character(char *bytes, uint32_t c) {
    uint32_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (uint32_t i = length - 1; i > 0; i--, c >>= 6) bytes[i] = (char)(0x80 | (c & 0x3F));
    bytes[0] = (char)(length == 1 ? c : (0xF00u >> length & 0xFF) | c);
    return length;
}

/* Reads what stands for a character after a backslash. */
static inline uint32_t ad_json_escape(ad_json *json) {
    char escape = json->text.bytes[json->at++];
    if (escape == 'u') {
        uint32_t unit = ad_json_unicode(json);
        if (unit < 0xD800 || unit >= 0xDC00) return unit;
        json->at += 2;
        return 0x10000 + ((unit - 0xD800) << 10 | ((ad_json_unicode(json) - 0xDC00) & 0x3FF));
    }
    const char *from = "bfnrt", *to = "\b\f\n\r\t";
    for (int i = 0; i < 5; i++) {
        if (escape == from[i]) return (unsigned char)to[i];
    }
    return (unsigned char)escape;
}

/* Reads a text without its quotes. */
static inline bool ad_json_string(ad_json *json, ad_text *read) {
    if (!ad_json_take(json, '"')) return false;
    uint32_t start = json->at, length = 0;
    char *to = ad_unescaped + start;
    while (json->at < json->text.length && json->text.bytes[json->at] != '"') {
        char c = json->text.bytes[json->at++];
        if (c == '\\') length += ad_write_character(to + length, ad_json_escape(json));
        else to[length++] = c;
    }
    read->bytes = to;
    read->length = length;
    return ad_json_take(json, '"');
}

/* Reads a number, and tells whether it is whole. Sixteen digits are exact. */
static inline bool ad_json_number(ad_json *json, double *read, bool *is_whole) {
    double value = 0, sign = ad_json_take(json, '-') ? -1 : 1;
    int exponent = 0, digits = 0;
    bool in_fraction = false;
    for (char c = ad_json_peek(json); (c >= '0' && c <= '9') || c == '.'; c = json->text.bytes[++json->at]) {
        if (c == '.') {
            in_fraction = true;
            continue;
        }
        value = value * 10 + (c - '0');
        exponent -= in_fraction;
        digits++;
    }
    if (json->text.bytes[json->at] == 'e' || json->text.bytes[json->at] == 'E') {
        json->at++;
        bool is_negative = ad_json_take(json, '-');
        if (!is_negative) ad_json_take(json, '+');
        int power = 0;
        for (char c = json->text.bytes[json->at]; c >= '0' && c <= '9' && power < 400; c = json->text.bytes[++json->at]) {
            power = power * 10 + (c - '0');
        }
        exponent += is_negative ? -power : power;
    }
    double scale = 1;
    for (int i = exponent < 0 ? -exponent : exponent; i > 0; i--) scale *= 10;
    *read = sign * (exponent < 0 ? value / scale : value * scale);
    *is_whole = *read >= -9e15 && *read <= 9e15 && *read == (double)(int64_t)*read;
    return digits > 0;
}

static inline bool ad_json_word(ad_json *json, const char *word) {
    if (!ad_starts_with(ad_part(json->text, json->at, json->text.length), word)) return false;
    json->at += ad_text_of(word).length;
    return true;
}

static inline bool ad_read_value(ad_json *json, const ad_setting *setting) {
    char first = ad_json_peek(json);
    double number = 0;
    bool is_whole = false;
    switch (setting->kind) {
    case AD_BOOL:
        *(bool *)setting->value = first == 't';
        return ad_json_word(json, first == 't' ? "true" : "false");
    case AD_STRING:
        return ad_json_string(json, setting->value);
    case AD_NUMBER:
        return ad_json_number(json, setting->value, &is_whole);
    default:
        if (!ad_json_number(json, &number, &is_whole) || !is_whole) return false;
        *(int64_t *)setting->value = (int64_t)number;
        return true;
    }
}

static inline bool ad_mend(ad_text *error, ad_text name, const char *what) {
    ad_builder builder = {NULL, 0, 0};
    ad_append(&builder, name);
    ad_append_string(&builder, what);
    *error = ad_built(&builder);
    return false;
}

/* Reads settings; those that are not known and those of another kind are refused. */
static inline bool ad_read_config(ad_text config, const ad_setting *settings, size_t length, ad_text *error) {
    static const char *const expected[] = {": expected a whole number", ": expected a number", ": expected true or false",
                                           ": expected a text"};
    ad_json json = {config, 0};
    if (!ad_json_take(&json, '{')) return ad_mend(error, ad_text_of("the configuration"), " is no object");
    while (ad_json_peek(&json) == '"') {
        ad_text name;
        ad_json_string(&json, &name);
        ad_json_take(&json, ':');
        const ad_setting *setting = NULL;
        for (size_t i = 0; i < length; i++) {
            if (ad_is(name, settings[i].name)) setting = &settings[i];
        }
        if (setting == NULL && length == 0) return ad_mend(error, ad_text_of(AD_NAME), " takes no configuration");
        if (setting == NULL) return ad_mend(error, name, ": there is no such setting");
        if (!ad_read_value(&json, setting)) return ad_mend(error, name, expected[setting->kind]);
        ad_json_take(&json, ',');
    }
    return true;
}

#endif
