// Environments and services in tables by name. A service exists while somebody serves it.
#include "route/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int directory_init(struct directory *d)
{
    *d = (struct directory){.key = siphash_key_random()};
    LIST_INIT(&d->all);
    int rc = table_init(&d->environments, 64);
    if (rc == 0)
        rc = table_init(&d->services, 64);
    if (rc < 0)
        directory_done(d);
    return rc;
}

void directory_done(struct directory *d)
{
    struct environment *e;
    while ((e = LIST_FIRST(&d->all))) {
        directory_remove(d, e);
        environment_free(e, false);
    }
    table_done(&d->environments);
    table_done(&d->services);
}

static uint64_t hash_names(const struct directory *d, const char *tenant, const char *name)
{
    char text[2 * NAME_CAP] = {0}; // fields of fixed width: names hold no NUL
    memcpy(text, tenant, strnlen(tenant, NAME_MAX_LEN));
    memcpy(text + NAME_CAP, name, strnlen(name, NAME_MAX_LEN));
    return siphash(&d->key, text, sizeof text);
}

struct environment *directory_find(const struct directory *d, const char *tenant, const char *name)
{
    for (struct table_node *n = table_first(&d->environments, hash_names(d, tenant, name)); n;
         n = table_next(n)) {
        struct environment *e = table_entry(n, struct environment, node);
        if (strcmp(e->tenant, tenant) == 0 && strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

struct environment *directory_add(struct directory *d, const char *tenant, const char *name,
                                  struct mailbox *mailbox)
{
    struct environment *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->serial = ++d->serials;
    memcpy(e->tenant, tenant, strlen(tenant) + 1);
    memcpy(e->name, name, strlen(name) + 1);
    e->mailbox = mailbox;
    LIST_INIT(&e->serves);
    LIST_INIT(&e->calls_made);
    LIST_INIT(&e->calls_served);
    LIST_INSERT_HEAD(&d->all, e, link);
    table_insert(&d->environments, &e->node, hash_names(d, tenant, name));
    return e;
}

void directory_remove(struct directory *d, struct environment *e)
{
    directory_unserve_all(d, e);
    table_remove(&d->environments, &e->node);
    LIST_REMOVE(e, link);
}

void environment_free(struct environment *e, bool forget)
{
    e->mailbox->ops->close(e->mailbox, forget);
    seen_free(e->replies_sent);
    free(e);
}

struct service *directory_find_service(const struct directory *d, const char *tenant, const char *name)
{
    for (struct table_node *n = table_first(&d->services, hash_names(d, tenant, name)); n;
         n = table_next(n)) {
        struct service *s = table_entry(n, struct service, node);
        if (strcmp(s->tenant, tenant) == 0 && strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

static struct service *add_service(struct directory *d, const char *tenant, const char *name)
{
    struct service *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    memcpy(s->tenant, tenant, strlen(tenant) + 1);
    memcpy(s->name, name, strlen(name) + 1);
    TAILQ_INIT(&s->servers);
    table_insert(&d->services, &s->node, hash_names(d, tenant, name));
    if (d->on_service)
        d->on_service(d->arg, s->tenant, s->name, true);
    return s;
}

static void drop_service_if_unserved(struct directory *d, struct service *s)
{
    if (s->n_servers > 0)
        return;
    table_remove(&d->services, &s->node);
    if (d->on_service)
        d->on_service(d->arg, s->tenant, s->name, false);
    free(s);
}

static struct serving *find_serving(const struct environment *e, const char *service)
{
    struct serving *v;
    LIST_FOREACH(v, &e->serves, in_environment)
    {
        if (strcmp(v->service->name, service) == 0)
            return v;
    }
    return NULL;
}

int directory_serve(struct directory *d, struct environment *e, const char *service)
{
    if (find_serving(e, service))
        return 0;
    if (e->n_serves >= ROUTER_SERVICES_MAX)
        return -EDQUOT;
    struct serving *v = calloc(1, sizeof *v);
    struct service *s = v ? directory_find_service(d, e->tenant, service) : NULL;
    if (v && !s)
        s = add_service(d, e->tenant, service);
    if (!s) {
        free(v);
        return -ENOMEM;
    }
    *v = (struct serving){.service = s, .environment = e};
    TAILQ_INSERT_TAIL(&s->servers, v, in_service);
    s->n_servers++;
    LIST_INSERT_HEAD(&e->serves, v, in_environment);
    e->n_serves++;
    return 0;
}

static void unserve(struct directory *d, struct serving *v)
{
    struct service *s = v->service;
    TAILQ_REMOVE(&s->servers, v, in_service);
    s->n_servers--;
    LIST_REMOVE(v, in_environment);
    v->environment->n_serves--;
    free(v);
    drop_service_if_unserved(d, s);
}

int directory_unserve(struct directory *d, struct environment *e, const char *service)
{
    struct serving *v = find_serving(e, service);
    if (!v)
        return -ENOENT;
    unserve(d, v);
    return 0;
}

void directory_unserve_all(struct directory *d, struct environment *e)
{
    // The analyzer does not see that what was removed is not the first any more.
    while (!LIST_EMPTY(&e->serves))         // NOLINT(clang-analyzer-unix.Malloc)
        unserve(d, LIST_FIRST(&e->serves)); // NOLINT(clang-analyzer-unix.Malloc)
}

struct serving *service_recall(const struct service *s, uint64_t dedup_key)
{
    for (size_t i = 0; i < RECENT_CHOICES; i++) {
        if (s->recent[i].serial == 0 || s->recent[i].dedup_key != dedup_key)
            continue;
        struct serving *v;
        TAILQ_FOREACH(v, &s->servers, in_service)
        {
            if (v->environment->serial == s->recent[i].serial)
                return v;
        }
    }
    return NULL;
}

void service_chose(struct serving *v, uint64_t dedup_key)
{
    struct service *s = v->service;
    s->recent[s->recent_at].dedup_key = dedup_key;
    s->recent[s->recent_at].serial = v->environment->serial;
    s->recent_at = (s->recent_at + 1) % RECENT_CHOICES;
    TAILQ_REMOVE(&s->servers, v, in_service);
    TAILQ_INSERT_TAIL(&s->servers, v, in_service);
}
