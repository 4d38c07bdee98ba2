// Names, addresses, subjects and ids as text, and UTF-8: what parses is formatted back to the same text.
#include "proto/name.h"
#include "roundtrip.h"

static void check_address(const char *text, size_t size)
{
    struct address a = {.name = "x"}, again;
    char out[ADDRESS_CAP];
    if (address_parse(text, size, &a)) {
        EXPECT(strcmp(a.name, "x") == 0);
        return;
    }
    EXPECT(name_valid(a.name, strlen(a.name)) && (!a.tenant[0] || name_valid(a.tenant, strlen(a.tenant))));
    address_format(&a, out);
    EXPECT(strlen(out) == size && memcmp(out, text, size) == 0);
    EXPECT(!address_parse(out, strlen(out), &again) && address_equals(&a, &again));
}

static void check_id(const char *text, size_t size)
{
    struct id id;
    char out[ID_TEXT_CAP];
    if (!id_parse(text, size, &id))
        return;
    id_format(&id, out);
    EXPECT(size == strlen(out));
    for (size_t i = 0; i < size; i++)
        EXPECT(out[i] == text[i] || (text[i] >= 'A' && text[i] <= 'F' && out[i] == text[i] + 32));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    check_address(text, size);
    check_id(text, size);
    // What is a name is a subject of one token and an address; all three are ASCII, so UTF-8.
    if (name_valid(text, size)) {
        struct address a;
        EXPECT(subject_valid(text, size) && !address_parse(text, size, &a));
    }
    if (subject_valid(text, size))
        EXPECT(size <= SUBJECT_MAX_LEN && wire_utf8_valid(data, size));
    // Validity is that of both halves, wherever a character ends.
    if (wire_utf8_valid(data, size))
        for (size_t i = 0; i <= size; i++)
            EXPECT(wire_utf8_valid(data, i) == wire_utf8_valid(data + i, size - i));
    return 0;
}
