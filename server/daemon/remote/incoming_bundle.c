// Several messages that came as one: each is read, decided on and stored by itself; the whole is settled when
// the last of them is. A part that must come again brings the others back with it, who are then known.
#include <errno.h>
#include <stdlib.h>

#include "remote/bundle.h"
#include "remote/remote_internal.h"

struct open_bundle {
    struct table_node by_handle;
    uint32_t n_left;
    enum broker_settlement how; // the strongest that a part asked for
};

static struct open_bundle *find(const struct remote *r, uint64_t handle)
{
    struct table_node *n = table_first(&r->bundles, handle); // consecutive: as good as a hash
    return n ? table_entry(n, struct open_bundle, by_handle) : NULL;
}

int incoming_bundle_open(struct remote *r, const struct broker_delivery *d,
                         void (*part)(struct remote *r, const struct broker_delivery *part))
{
    uint32_t n = bundle_check(d->body);
    if (n == 0)
        return -EINVAL;
    struct open_bundle *b = malloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    *b = (struct open_bundle){.n_left = n, .how = BROKER_ACK};
    table_insert(&r->bundles, &b->by_handle, d->handle);
    struct wire_reader reader;
    struct broker_delivery one = *d;
    wire_reader_init(&reader, d->body.data, d->body.len);
    while (bundle_part_read(&reader, &one.properties, &one.body)) {
        one.properties.user_id = d->properties.user_id;
        part(r, &one);
    }
    return 0;
}

bool incoming_bundle_settled(struct remote *r, uint64_t handle, enum broker_settlement *how)
{
    static const unsigned strength[] = {[BROKER_ACK] = 0, [BROKER_DEAD_LETTER] = 1, [BROKER_REQUEUE] = 2};
    struct open_bundle *b = find(r, handle);
    if (!b)
        return true; // a message that came alone
    if (strength[*how] > strength[b->how])
        b->how = *how;
    if (--b->n_left > 0)
        return false;
    *how = b->how;
    table_remove(&r->bundles, &b->by_handle);
    free(b);
    return true;
}

bool incoming_bundle_has(const struct remote *r, uint64_t handle)
{
    return find(r, handle) != NULL;
}

void incoming_bundles_done(struct remote *r)
{
    struct table_node *n;
    while ((n = table_any(&r->bundles))) {
        table_remove(&r->bundles, n);
        free(table_entry(n, struct open_bundle, by_handle));
    }
    table_done(&r->bundles);
}
