// Decisions that are remembered: each a block of memory with all its strings, in a queue per source tenant
// (who floods loses its own history, not its neighbours') and in a table by message id.
#include "mediate/records.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/siphash.h"
#include "common/table.h"

#define BYTES_PER_RECORD 2048 // on average at most, see records_add()

struct entry {
    struct table_node by_id;
    TAILQ_ENTRY(entry) in_tenant;
    size_t size;
    struct mediate_record view;
    struct mediate_label labels[]; // source's, then target's; the strings follow
};

struct tenant {
    LIST_ENTRY(tenant) link;
    struct table_node by_name;
    TAILQ_HEAD(, entry) entries; // oldest first
    size_t n;
    char name[];
};

struct records {
    struct siphash_key hash_key;
    struct table by_id;
    struct table by_name;
    LIST_HEAD(, tenant) tenants;
    size_t n_tenants;
    size_t max;
    size_t bytes;
};

struct records *records_new(size_t max)
{
    struct records *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->hash_key = siphash_key_random();
    r->max = max;
    LIST_INIT(&r->tenants);
    // Sized for max: it never grows, so that nodes of one id stay newest first.
    if (table_init(&r->by_id, max + 1) < 0 || table_init(&r->by_name, 0) < 0) {
        records_free(r);
        return NULL;
    }
    return r;
}

static void drop_oldest(struct records *r, struct tenant *t)
{
    struct entry *e = TAILQ_FIRST(&t->entries);
    TAILQ_REMOVE(&t->entries, e, in_tenant);
    table_remove(&r->by_id, &e->by_id);
    r->bytes -= e->size;
    free(e);
    if (--t->n > 0)
        return;
    LIST_REMOVE(t, link);
    table_remove(&r->by_name, &t->by_name);
    r->n_tenants--;
    free(t);
}

void records_free(struct records *r)
{
    if (!r)
        return;
    while (!LIST_EMPTY(&r->tenants))
        drop_oldest(r, LIST_FIRST(&r->tenants));
    table_done(&r->by_id);
    table_done(&r->by_name);
    free(r);
}

static uint64_t hash_name(const struct records *r, const char *name)
{
    return siphash(&r->hash_key, name, strlen(name));
}

static struct tenant *find_tenant(const struct records *r, const char *name)
{
    for (struct table_node *n = table_first(&r->by_name, hash_name(r, name)); n; n = table_next(n)) {
        struct tenant *t = table_entry(n, struct tenant, by_name);
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

static struct tenant *get_tenant(struct records *r, const char *name)
{
    struct tenant *t = find_tenant(r, name);
    size_t cap = strlen(name) + 1;
    if (t || !(t = calloc(1, sizeof *t + cap)))
        return t;
    memcpy(t->name, name, cap);
    TAILQ_INIT(&t->entries);
    LIST_INSERT_HEAD(&r->tenants, t, link);
    table_insert(&r->by_name, &t->by_name, hash_name(r, name));
    r->n_tenants++;
    return t;
}

static bool over_limit(const struct records *r, size_t more)
{
    return r->by_id.n_nodes >= r->max || r->bytes + more > r->max * BYTES_PER_RECORD;
}

// Whose oldest entry goes so that `own` (NULL: a tenant without entries) can have one more. The walk over all
// tenants is rare: only a tenant below its share causes it.
static struct tenant *choose_victim(struct records *r, struct tenant *own)
{
    if (own && own->n * r->n_tenants >= r->by_id.n_nodes)
        return own;
    struct tenant *most = NULL, *t;
    LIST_FOREACH(t, &r->tenants, link)
    {
        if (!most || t->n > most->n)
            most = t;
    }
    return most;
}

static size_t text_size(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}

static size_t party_size(const struct mediate_party *p)
{
    size_t size = text_size(p->tenant) + text_size(p->name);
    for (size_t i = 0; i < p->n_labels; i++)
        size += text_size(p->labels[i].key) + text_size(p->labels[i].value);
    return size;
}

static const char *put_text(char **cursor, const char *s)
{
    if (!s)
        return NULL;
    char *out = *cursor;
    size_t n = strlen(s) + 1;
    memcpy(out, s, n);
    *cursor += n;
    return out;
}

static void put_party(char **cursor, struct mediate_label *labels, const struct mediate_party *from,
                      struct mediate_party *to)
{
    to->tenant = put_text(cursor, from->tenant);
    to->name = put_text(cursor, from->name);
    to->labels = labels;
    for (size_t i = 0; i < from->n_labels; i++)
        labels[i] = (struct mediate_label){put_text(cursor, from->labels[i].key),
                                           put_text(cursor, from->labels[i].value)};
}

static struct entry *make_entry(const struct mediate_record *view)
{
    const struct mediate_question *q = &view->question;
    size_t n_labels = q->source.n_labels + q->target.n_labels;
    size_t size = sizeof(struct entry) + n_labels * sizeof(struct mediate_label) + party_size(&q->source) +
                  party_size(&q->target) + text_size(q->service) + text_size(q->subject) +
                  text_size(q->image);
    struct entry *e = calloc(1, size);
    if (!e)
        return NULL;
    e->size = size;
    e->view = *view;
    char *cursor = (char *)&e->labels[n_labels];
    struct mediate_question *copy = &e->view.question;
    put_party(&cursor, e->labels, &q->source, &copy->source);
    put_party(&cursor, e->labels + q->source.n_labels, &q->target, &copy->target);
    copy->service = put_text(&cursor, q->service);
    copy->subject = put_text(&cursor, q->subject);
    copy->image = put_text(&cursor, q->image);
    return e;
}

void records_add(struct records *r, const struct mediate_record *view)
{
    const char *tenant_name = view->question.source.tenant;
    struct entry *e = make_entry(view);
    if (!e)
        return;
    while (r->by_id.n_nodes > 0 && over_limit(r, e->size))
        drop_oldest(r, choose_victim(r, find_tenant(r, tenant_name)));
    struct tenant *own = get_tenant(r, tenant_name);
    if (!own) {
        free(e);
        return;
    }
    own->n++;
    TAILQ_INSERT_TAIL(&own->entries, e, in_tenant);
    table_insert(&r->by_id, &e->by_id, siphash(&r->hash_key, view->message.bytes, ID_LEN));
    r->bytes += e->size;
}

const struct mediate_record *records_find(const struct records *r, const struct id *message, size_t nth)
{
    for (struct table_node *n = table_first(&r->by_id, siphash(&r->hash_key, message->bytes, ID_LEN)); n;
         n = table_next(n)) {
        const struct entry *e = table_entry(n, struct entry, by_id);
        if (id_equals(&e->view.message, message) && nth-- == 0)
            return &e->view;
    }
    return NULL;
}

size_t records_count(const struct records *r)
{
    return r->by_id.n_nodes;
}
