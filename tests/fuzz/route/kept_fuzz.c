// The router's records in the journal: any bytes are read or refused, and what was read is written and read
// again as the same. The first byte says which kind of record it is.
#include <stdlib.h>
#include <string.h>

#include "route/kept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void try_message(const uint8_t *data, size_t size)
{
    struct kept_message a = {0}, b = {0};
    uint8_t out[KEPT_HEAD_CAP];
    if (!kept_read_message(data, size, KEPT_MESSAGE, &a))
        return;
    size_t n = kept_write_message(out, &a);
    check(n > 0 && n + a.len == size && memcmp(out, data, n) == 0);
    check(kept_read_message(out, n, KEPT_MESSAGE, &b) && b.dedup_key == a.dedup_key &&
          strcmp(a.name, b.name) == 0);
}

// It is written again as one that has a date, which is not known.
static void try_undated_message(const uint8_t *data, size_t size)
{
    struct kept_message a = {0};
    uint8_t out[KEPT_HEAD_CAP];
    if (!kept_read_message(data, size, KEPT_UNDATED_MESSAGE, &a))
        return;
    size_t n = kept_write_message(out, &a);
    check(a.arrived_ms == 0 && n + a.len == size + 8 && memcmp(out + 8, data, n - 8) == 0);
}

static void try_attempts(const uint8_t *data, size_t size)
{
    struct kept_attempts a;
    uint8_t out[KEPT_SMALL_CAP];
    if (kept_read_attempts(data, size, &a))
        check(kept_write_attempts(out, &a) == size && memcmp(out, data, size) == 0);
}

static void try_keys(const uint8_t *data, size_t size)
{
    static struct kept_keys a;
    static uint8_t out[KEPT_KEYS_CAP];
    if (kept_read_keys(data, size, &a))
        check(kept_write_keys(out, &a) == size && memcmp(out, data, size) == 0);
}

// Texts of addresses may be written differently; what they mean may not.
static void try_call(const uint8_t *data, size_t size)
{
    struct kept_call a = {0}, b = {0};
    uint8_t out[KEPT_CALL_CAP];
    if (!kept_read_call(data, size, &a))
        return;
    size_t n = kept_write_call(out, &a);
    check(n > 0 && kept_read_call(out, n, &b) && id_equals(&a.id, &b.id) && a.far == b.far &&
          a.deadline_ms == b.deadline_ms && address_equals(&a.caller, &b.caller) &&
          address_equals(&a.called, &b.called) && strcmp(a.callee_name, b.callee_name) == 0 &&
          strcmp(a.reply_to, b.reply_to) == 0 && strcmp(a.correlation, b.correlation) == 0);
}

static void try_dead(const uint8_t *data, size_t size)
{
    struct kept_dead a;
    uint8_t out[KEPT_SMALL_CAP];
    if (kept_read_dead(data, size, &a))
        check(kept_write_dead(out, &a) == size && memcmp(out, data, size) == 0);
}

static void try_hash_key(const uint8_t *data, size_t size)
{
    struct siphash_key a;
    uint8_t out[KEPT_SMALL_CAP];
    if (kept_read_hash_key(data, size, &a))
        check(kept_write_hash_key(out, &a) == size && memcmp(out, data, size) == 0);
}

static void try_epoch(const uint8_t *data, size_t size)
{
    struct kept_epoch a;
    uint8_t out[KEPT_EPOCH_CAP];
    if (kept_read_epoch(data, size, &a))
        check(kept_write_epoch(out, &a) == size && memcmp(out, data, size) == 0);
}

static void try_queue(const uint8_t *data, size_t size)
{
    struct kept_queue a;
    uint8_t out[KEPT_OWNED_CAP];
    if (kept_read_queue(data, size, &a))
        check(kept_write_queue(out, &a) == size && memcmp(out, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const uint8_t *data, size_t size) = {
        try_message,         try_keys,     try_call,  try_dead, try_hash_key,
        try_undated_message, try_attempts, try_epoch, try_queue};
    if (size > 0)
        tries[data[0] % (sizeof tries / sizeof tries[0])](data + 1, size - 1);
    return 0;
}
