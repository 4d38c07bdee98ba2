// Fuzzes what a delivery's body says is several messages: any bytes. What is taken for a bundle comes back
// the same when its parts are written again.
#include <stdlib.h>
#include <string.h>

#include "remote/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t write_again(struct wire_reader *r, uint8_t *out, size_t cap)
{
    struct broker_publication p = {0};
    struct wire_writer w;
    size_t expected = 0;
    wire_writer_init(&w, out, cap);
    while (bundle_part_read(r, &p.properties, &p.body)) {
        expected += bundle_part_size(&p);
        bundle_part_write(&w, &p);
    }
    if (w.overflow || w.pos != expected)
        abort();
    return w.pos;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[1u << 20];
    uint32_t n = bundle_check((struct broker_text){(const char *)data, size});
    if (n == 0 || size > sizeof again)
        return 0;
    struct wire_reader r;
    wire_reader_init(&r, data, size);
    if (n > BUNDLE_PARTS_MAX || write_again(&r, again, sizeof again) != size ||
        memcmp(data, again, size) != 0)
        abort();
    return 0;
}
