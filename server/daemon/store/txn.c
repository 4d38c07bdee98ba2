// Owns the making of transactions: bounds, duplicate keys, copies of keys and values. Called by the daemon's
// parts through store.h; knows neither the view nor the disk.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/job.h"

struct entry *entry_new(const char *key, const void *value, size_t len)
{
    size_t key_size = strlen(key) + 1;
    struct entry *entry = calloc(1, sizeof *entry + key_size + len + 1);
    if (!entry)
        return NULL;
    memcpy(entry->texts, key, key_size);
    if (len > 0)
        memcpy(entry->texts + key_size, value, len);
    entry->pub = (struct store_entry){.key = entry->texts, .value = entry->texts + key_size, .len = len};
    return entry;
}

struct store_txn *store_txn_new(struct store *store)
{
    struct store_txn *txn = calloc(1, sizeof *txn);
    if (!txn)
        return NULL;
    txn->job.kind = JOB_TXN;
    txn->store = store;
    return txn;
}

void store_txn_free(struct store_txn *txn)
{
    if (!txn)
        return;
    for (size_t i = 0; i < txn->n_ops; i++)
        free(txn->ops[i].entry);
    free(txn);
}

static bool changes_key(const struct store_txn *txn, const char *key)
{
    for (size_t i = 0; i < txn->n_ops; i++)
        if (txn->ops[i].type != OP_EXPECT && strcmp(txn->ops[i].entry->pub.key, key) == 0)
            return true;
    return false;
}

static int add_op(struct store_txn *txn, struct store_op op, const char *key, const void *value, size_t len)
{
    size_t key_len = strnlen(key, STORE_KEY_MAX + 1);
    if (key_len == 0 || key_len > STORE_KEY_MAX)
        return -EINVAL;
    if (txn->n_ops == STORE_TXN_MAX || len > STORE_VALUE_MAX)
        return -E2BIG;
    if (op.type != OP_EXPECT && changes_key(txn, key))
        return -EINVAL;
    struct store_op *slot = &txn->ops[txn->n_ops];
    *slot = op;
    slot->entry = entry_new(key, value, len);
    if (!slot->entry)
        return -ENOMEM;
    txn->n_ops++;
    return 0;
}

int store_txn_expect(struct store_txn *txn, const char *key, uint64_t revision)
{
    return add_op(txn, (struct store_op){.type = OP_EXPECT, .revision = revision}, key, NULL, 0);
}

int store_txn_put(struct store_txn *txn, const char *key, const void *value, size_t len)
{
    return add_op(txn, (struct store_op){.type = OP_PUT}, key, value, len);
}

int store_txn_delete(struct store_txn *txn, const char *key)
{
    return add_op(txn, (struct store_op){.type = OP_DELETE}, key, NULL, 0);
}

void replay_free(struct replay *replay)
{
    if (!replay)
        return;
    for (size_t i = 0; i < replay->n; i++)
        free(replay->events[i].entry);
    free(replay->events);
    free(replay);
}
