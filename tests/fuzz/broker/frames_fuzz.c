// Frames in any order and with any lengths, as a broker could send them, through
// server/daemon/broker/frames.c. Each byte of the input is a frame's kind and its size; messages that come
// out must be whole.
#include <stdlib.h>
#include <string.h>

#include "broker/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char filler[70000];

static amqp_bytes_t bytes(size_t len)
{
    return (amqp_bytes_t){len, filler};
}

static amqp_frame_t method_frame(uint8_t how, amqp_basic_deliver_t *deliver, amqp_basic_return_t *ret,
                                 amqp_basic_get_ok_t *got)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_METHOD, .channel = 1};
    *deliver = (amqp_basic_deliver_t){.consumer_tag = bytes(how),
                                      .delivery_tag = how,
                                      .exchange = bytes(how % 3),
                                      .routing_key = bytes(how * 2u)};
    *ret = (amqp_basic_return_t){.exchange = bytes(how), .routing_key = bytes(how)};
    *got = (amqp_basic_get_ok_t){.exchange = bytes(how), .routing_key = bytes(how)};
    const struct {
        amqp_method_number_t id;
        void *decoded;
    } rows[] = {{AMQP_BASIC_DELIVER_METHOD, deliver},
                {AMQP_BASIC_RETURN_METHOD, ret},
                {AMQP_BASIC_GET_OK_METHOD, got}};
    f.payload.method.id = rows[how % 3].id;
    f.payload.method.decoded = rows[how % 3].decoded;
    return f;
}

static amqp_frame_t header_frame(uint8_t how, amqp_basic_properties_t *p, amqp_table_entry_t *e)
{
    static const uint64_t sizes[] = {0,          1, 255, 65536, BROKER_BODY_MAX, BROKER_BODY_MAX + 1ull,
                                     UINT64_MAX, 3};
    amqp_frame_t f = {.frame_type = AMQP_FRAME_HEADER, .channel = 1};
    for (size_t i = 0; i < how; i++) {
        e[i] = (amqp_table_entry_t){.key = bytes(i % 256), .value.kind = "stIlBbuTFAD?"[i % 12]};
        if (e[i].value.kind == AMQP_FIELD_KIND_UTF8)
            e[i].value.value.bytes = bytes(how * 20u);
        else
            e[i].value.value.i64 = INT64_MIN;
    }
    *p = (amqp_basic_properties_t){
        ._flags = how % 2 ? 0xffff : 0, .message_id = bytes(how), .user_id = bytes(how), .headers = {how, e}};
    f.payload.properties.class_id = how == 7 ? 7 : AMQP_BASIC_CLASS;
    f.payload.properties.body_size = sizes[how % 8];
    f.payload.properties.decoded = p;
    return f;
}

// A message's texts lie inside its one allocation: reading them all is what the sanitizer watches.
static size_t read_all(const struct arrival *m)
{
    size_t sum = 0;
    for (size_t i = 0; i < m->n_headers; i++)
        for (size_t k = 0; k < m->headers[i].value.len; k++)
            sum += (size_t)m->headers[i].value.data[k];
    for (size_t i = 0; i < m->body_len && !m->oversized; i += 97)
        sum += (size_t)m->body[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assembly a = {0};
    amqp_basic_deliver_t deliver;
    amqp_basic_return_t ret;
    amqp_basic_get_ok_t got;
    amqp_basic_properties_t properties;
    static amqp_table_entry_t entries[256];
    struct arrival *m = NULL;
    volatile size_t sink = 0;
    for (size_t i = 0; i + 1 < size && i < 400; i += 2) {
        amqp_frame_t f = {.frame_type = AMQP_FRAME_BODY, .channel = 1};
        f.payload.body_fragment = bytes(data[i + 1] * 257u);
        if (data[i] % 3 == 0)
            f = method_frame(data[i + 1], &deliver, &ret, &got);
        else if (data[i] % 3 == 1)
            f = header_frame(data[i + 1], &properties, entries);
        if (!assembly_wants(&f))
            abort();
        if (assembly_feed(&a, &f, &m) < 0)
            break;
        if (!m)
            continue;
        if (m->body_got != m->body_len || m->n_headers > BROKER_HEADERS_MAX)
            abort();
        sink += read_all(m);
        free(m);
    }
    assembly_reset(&a);
    return 0;
}
