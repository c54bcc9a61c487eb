/* How calls cross: memory, the layouts that the canonical ABI gives the records of the WIT, and who the plugin is. */
#ifndef AUTODIDACT_ABI_H
#define AUTODIDACT_ABI_H

#define AD_EXPORT(name) __attribute__((export_name(name)))
/* The longest configuration that the host hands over. */
#define AD_MAX_CONFIG 65536

/* What a plugin asks to use: `#define AD_CAPABILITIES AD_USES_LOG, AD_USES_GENERATE`. */
enum { AD_USES_LOG, AD_USES_GENERATE, AD_USES_EMBED, AD_USES_SCORE, AD_USES_DATA };

/* Memory lives until the answer of a call was read; then all of it is free again. */
extern unsigned char __heap_base;
static uintptr_t ad_top;

static void *ad_take(size_t alignment, size_t size) {
    if (ad_top == 0) ad_top = (uintptr_t)&__heap_base;
    uintptr_t at = (ad_top + alignment - 1) & ~(uintptr_t)(alignment - 1);
    uintptr_t end = at + size;
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (end < at) __builtin_trap();
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (size_t)-1) {
        __builtin_trap();
    }
    ad_top = end;
    return (void *)at;
}

static inline void *ad_take_zeros(size_t alignment, size_t size) {
    unsigned char *taken = ad_take(alignment, size);
    for (size_t i = 0; i < size; i++) taken[i] = 0;
    return taken;
}

static void ad_free_all(void) { ad_top = 0; }

AD_EXPORT("cabi_realloc")
void *ad_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    unsigned char *taken = ad_take(alignment, size);
    for (size_t i = 0; i < old_size && i < size; i++) taken[i] = ((unsigned char *)old)[i];
    return taken;
}

/* The compiler makes calls to these of loops and copied structs. */
__attribute__((weak, no_builtin)) void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

__attribute__((weak, no_builtin)) void *memset(void *to, int byte, size_t size) {
    for (size_t i = 0; i < size; i++) ((unsigned char *)to)[i] = (unsigned char)byte;
    return to;
}

typedef struct {
    uint8_t is_error;
    const void *list; /* the error's bytes where it is one */
    uint32_t length;
} ad_result;

typedef struct {
    uint8_t has_text;
    ad_text text;
} ad_option_text;

typedef struct {
    uint8_t has_number;
    double number;
} ad_option_number;

static inline ad_option_text ad_option(ad_text text) {
    ad_option_text option = {text.length > 0, text};
    return option;
}

static inline ad_result *ad_ok(const void *list, uint32_t length) {
    static ad_result result;
    result.is_error = 0;
    result.list = list;
    result.length = length;
    return &result;
}

static inline ad_result *ad_failed(ad_text error) {
    ad_result *result = ad_ok(error.bytes, error.length);
    result->is_error = 1;
    return result;
}

/* The configuration that was read last, so that one is read once and not for every batch. */
static char ad_known[AD_MAX_CONFIG];
static uint32_t ad_known_length;

/* Gives the error, or NULL where the plugin has the settings of this configuration. */
static ad_result *ad_configured(const char *config, uint32_t length) {
    ad_text given = {config, length}, known = {ad_known, ad_known_length}, error = {"", 0};
    if (length > 0 && ad_equal(given, known)) return NULL;
    if (length > AD_MAX_CONFIG) return ad_failed(ad_text_of("the configuration is too long"));
    for (uint32_t i = 0; i < length; i++) ad_known[i] = config[i];
    ad_known_length = 0;
    known.length = length;
    if (!ad_configure(known, &error)) return ad_failed(error);
    ad_known_length = length;
    return NULL;
}

AD_EXPORT("autodidact:plugin/plugin@0.1.0#check-config")
ad_result *ad_export_check_config(const char *config, uint32_t length) {
    ad_result *error = ad_configured(config, length);
    return error != NULL ? error : ad_ok(NULL, 0);
}

AD_EXPORT("cabi_post_autodidact:plugin/plugin@0.1.0#check-config")
void ad_post_check_config(ad_result *result) {
    (void)result;
    ad_free_all();
}

typedef struct {
    ad_text name, version;
    const uint8_t *kinds;
    uint32_t kinds_length;
    ad_text config_schema;
    const uint8_t *capabilities;
    uint32_t capabilities_length;
} ad_description;

AD_EXPORT("autodidact:plugin/plugin@0.1.0#describe")
ad_description *ad_describe(void) {
    static const uint8_t kinds[] = {
#ifdef AD_FILTER
        0,
#endif
#ifdef AD_TEMPLATE
        1,
#endif
#ifdef AD_VALIDATOR
        2,
#endif
#ifdef AD_SCORER
        3,
#endif
    };
    static ad_description description;
    description.name = ad_text_of(AD_NAME);
    description.version = ad_text_of(AD_VERSION);
    description.kinds = kinds;
    description.kinds_length = sizeof kinds;
    description.config_schema = ad_text_of(AD_CONFIG_SCHEMA);
#ifdef AD_CAPABILITIES
    static const uint8_t capabilities[] = {AD_CAPABILITIES};
    description.capabilities = capabilities;
    description.capabilities_length = sizeof capabilities;
#endif
    return &description;
}

/* A batch as the WIT lays it out. */
typedef struct {
    const char *text;
    uint32_t text_length;
    const uint32_t *ends;
    uint32_t ends_length;
} ad_batch;

enum { AD_FIELDS = 7 };

static inline ad_text ad_field(const ad_batch *batch, uint32_t index) {
    uint32_t start = index > 0 ? batch->ends[index - 1] : 0, end = batch->ends[index];
    if (end < start || end > batch->text_length) __builtin_trap();
    ad_text text = {batch->text + start, end - start};
    return text;
}

static inline ad_record ad_record_of(const ad_batch *batch, uint32_t index) {
    uint32_t f = AD_FIELDS * index;
    ad_record record = {ad_field(batch, f),     ad_field(batch, f + 1), ad_field(batch, f + 2), ad_field(batch, f + 3),
                        ad_field(batch, f + 4), ad_field(batch, f + 5), ad_field(batch, f + 6)};
    return record;
}

static inline const ad_record *ad_records_of(const ad_batch *batch) {
    uint32_t length = batch->ends_length / AD_FIELDS;
    ad_record *records = ad_take(4, length * sizeof *records);
    for (uint32_t r = 0; r < length; r++) records[r] = ad_record_of(batch, r);
    return records;
}

#endif
