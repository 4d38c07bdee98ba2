// The store's sorted view against the plainest model there is: an unsorted list searched from end to end.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/view.h"

#define KEYS 64

struct model {
    char keys[KEYS][4];
    size_t n;
};

static size_t model_find(const struct model *m, const char *key)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->keys[i], key) != 0)
        i++;
    return i;
}

static const char *model_next(const struct model *m, const char *prefix, const char *after)
{
    const char *best = NULL;
    for (size_t i = 0; i < m->n; i++) {
        const char *key = m->keys[i];
        if (strncmp(key, prefix, strlen(prefix)) == 0 && (!after || strcmp(key, after) > 0) &&
            (!best || strcmp(key, best) < 0))
            best = key;
    }
    return best;
}

static size_t model_count(const struct model *m, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += strncmp(m->keys[i], prefix, strlen(prefix)) == 0;
    return n;
}

// A key of 1 to 3 letters out of four, '\xff' among them: order is by unsigned bytes.
static void key_from(uint8_t byte, char key[4])
{
    static const char letters[] = {'a', 'b', '/', '\xff'};
    size_t len = 1 + (byte >> 6) % 3;
    for (size_t i = 0; i < len; i++)
        key[i] = letters[(byte >> (2 * i)) & 3];
    key[len] = '\0';
}

static void put(struct view *view, struct model *m, const char *key)
{
    size_t i = model_find(m, key);
    if (i == KEYS)
        return;
    if (view_reserve(view, 1) < 0)
        abort();
    struct entry *old = view_put(view, entry_new(key, "v", 1));
    if (!old != (i == m->n))
        abort();
    free(old);
    if (i == m->n)
        memcpy(m->keys[m->n++], key, 4);
}

static void drop(struct view *view, struct model *m, const char *key)
{
    size_t i = model_find(m, key);
    struct entry *old = view_remove(view, key);
    if (!old != (i == m->n))
        abort();
    free(old);
    if (i < m->n)
        memcpy(m->keys[i], m->keys[--m->n], 4);
}

static void compare(const struct view *view, const struct model *m, const char *prefix, const char *after)
{
    const struct store_entry *got = view_next(view, prefix, after);
    const char *want = model_next(m, prefix, after);
    if (!got != !want || (got && strcmp(got->key, want) != 0) ||
        view_count(view, prefix) != model_count(m, prefix))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view view = {0};
    struct model model = {.n = 0};
    for (size_t i = 0; i + 2 < size; i += 3) {
        char key[4], other[4];
        key_from(data[i + 1], key);
        key_from(data[i + 2], other);
        if (data[i] % 4 < 2)
            put(&view, &model, key);
        else if (data[i] % 4 == 2)
            drop(&view, &model, key);
        compare(&view, &model, key, data[i] & 0x80 ? other : NULL);
        compare(&view, &model, "", other);
    }
    view_done(&view);
    return 0;
}
