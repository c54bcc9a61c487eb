/* Drops instructions that shout: three exclamation marks or more, of either width. */
#define AD_NAME "shout-c"
#define AD_VERSION "0.1.0"
#define AD_CONFIG_SCHEMA ""
#define AD_FILTER
#include "autodidact_plugin.h"

/* Counts `!` and `！`, which is EF BC 81 in UTF-8. */
static uint32_t marks(ad_text text) {
    uint32_t count = 0;
    for (uint32_t at = 0; at < text.length; at++) {
        const unsigned char *byte = (const unsigned char *)text.bytes + at;
        bool wide = at + 2 < text.length && byte[0] == 0xEF && byte[1] == 0xBC && byte[2] == 0x81;
        count += byte[0] == '!' || wide;
    }
    return count;
}

static ad_decision ad_decide(const ad_record *record) {
    uint32_t count = marks(record->instruction);
    if (count < 3) return ad_keep();
    return ad_drop_for("shouts", ad_text_of("exclamation marks, counted in the score"), count);
}

/* There is nothing to configure. */
static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }
