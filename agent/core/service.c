// Services that programs registered: asked of the host, asked for again when the link is back, given up with
// their program. One program of an environment serves a service.
#include "state.h"

#include <string.h>

static bool name_equals(struct wire_view name, const struct service *s)
{
    return wire_view_equals(name, s->name);
}

// The entry that stands for the name; one that is being given up no longer does.
static struct service *find(struct agent *a, struct wire_view name)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++) {
        struct service *s = &a->services[i];
        if (s->state != SERVICE_FREE && s->state != SERVICE_LEAVING && name_equals(name, s))
            return s;
    }
    return NULL;
}

static void ask_host(struct agent *a, struct service *s, enum agent_frame_type type)
{
    s->host_tag = agent_make_tag(a, REQUEST_SERVICE, (size_t)(s - a->services));
    link_push(a, &(struct agent_frame){.type = type,
                                       .tag = s->host_tag,
                                       .service = {(const uint8_t *)s->name, strlen(s->name)}});
}

void service_register(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct service *s = find(a, f->service);
    if (s && s->client != client) {
        client_result(a, client, f->tag, RECEIPT_INVALID, "another program of this environment serves it");
        return;
    }
    if (s) {
        bool held = s->state == SERVICE_HELD;
        client_result(a, client, f->tag, held ? RECEIPT_ACCEPTED : RECEIPT_INVALID,
                      held ? "" : "the first request for it is not answered yet");
        return;
    }
    for (size_t i = 0; i < AGENT_SERVICES_MAX && !s; i++)
        if (a->services[i].state == SERVICE_FREE)
            s = &a->services[i];
    if (!s) {
        client_result(a, client, f->tag, RECEIPT_RATE_LIMITED, "an environment has at most 32 services");
        return;
    }
    *s = (struct service){.state = SERVICE_ASKED, .client = client, .tag = f->tag};
    wire_view_to_cstr(f->service, s->name, sizeof s->name);
    if (a->link.state == LINK_READY)
        ask_host(a, s, AGENT_REGISTER);
}

void service_unregister(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct service *s = find(a, f->service);
    if (!s || s->client != client || s->state == SERVICE_ASKED) {
        client_result(a, client, f->tag, RECEIPT_INVALID, "this program has not registered it");
        return;
    }
    if (a->link.state != LINK_READY) {
        s->state = SERVICE_FREE; // the host forgot it with the link
        client_result(a, client, f->tag, RECEIPT_ACCEPTED, "");
        return;
    }
    s->state = SERVICE_LEAVING;
    s->tag = f->tag;
    ask_host(a, s, AGENT_UNREGISTER);
}

static void on_asked(struct agent *a, struct service *s, struct frame_in *in, bool accepted)
{
    frame_in_set_tag(in, s->tag);
    client_forward(a, s->client, in);
    s->state = accepted ? SERVICE_HELD : SERVICE_FREE;
    if (accepted)
        deliver_service_taken(a, s->client, s->name);
}

static void on_renewed(struct agent *a, struct service *s, struct frame_in *in, bool accepted)
{
    (void)in;
    s->state = accepted ? SERVICE_HELD : SERVICE_FREE;
    if (!accepted) // it believes that it serves: the protocol has no softer way to tell
        client_doom(a, s->client, "the host no longer lets it serve what it had registered");
}

static void on_left(struct agent *a, struct service *s, struct frame_in *in, bool accepted)
{
    (void)accepted;
    frame_in_set_tag(in, s->tag);
    client_forward(a, s->client, in);
    s->state = SERVICE_FREE;
}

void service_result(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    static void (*const on_result[])(struct agent * a, struct service * s, struct frame_in * in,
                                     bool accepted) = {
        [SERVICE_FREE] = NULL,           [SERVICE_ASKED] = on_asked,  [SERVICE_HELD] = NULL,
        [SERVICE_RENEWING] = on_renewed, [SERVICE_LEAVING] = on_left,
    };
    size_t slot = agent_tag_slot(f->tag);
    if (slot >= AGENT_SERVICES_MAX || a->services[slot].host_tag != f->tag)
        return; // the answer to a REGISTER whose program went away before
    struct service *s = &a->services[slot];
    if (on_result[s->state])
        on_result[s->state](a, s, in, f->receipt.code == RECEIPT_ACCEPTED);
    s->host_tag = 0;
}

int service_owner(const struct agent *a, const char *name)
{
    struct wire_view v = {.data = (const uint8_t *)name, .len = strlen(name)};
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++) {
        const struct service *s = &a->services[i];
        if ((s->state == SERVICE_HELD || s->state == SERVICE_RENEWING) && name_equals(v, s))
            return s->client;
    }
    return NO_CLIENT;
}

bool service_is_asked_for(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++)
        if (a->services[i].state == SERVICE_ASKED && strcmp(a->services[i].name, name) == 0)
            return true;
    return false;
}

bool service_is_owned(const struct agent *a, int client, const char *name)
{
    return service_owner(a, name) == client;
}

void service_recall(struct agent *a, const char *name)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++)
        if (a->services[i].state == SERVICE_HELD && strcmp(a->services[i].name, name) == 0)
            ask_host(a, &a->services[i], AGENT_REGISTER); // the answer to it is ignored
}

void service_link_ready(struct agent *a)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++)
        if (a->services[i].state == SERVICE_ASKED || a->services[i].state == SERVICE_RENEWING)
            ask_host(a, &a->services[i], AGENT_REGISTER);
}

void service_link_lost(struct agent *a)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++) {
        struct service *s = &a->services[i];
        s->host_tag = 0;
        if (s->state == SERVICE_HELD) {
            s->state = SERVICE_RENEWING;
        } else if (s->state == SERVICE_LEAVING) {
            client_result(a, s->client, s->tag, RECEIPT_ACCEPTED, "");
            s->state = SERVICE_FREE;
        }
    }
}

void service_client_gone(struct agent *a, int client)
{
    for (size_t i = 0; i < AGENT_SERVICES_MAX; i++) {
        struct service *s = &a->services[i];
        if (s->state == SERVICE_FREE || s->client != client)
            continue;
        s->client = NO_CLIENT;
        if (s->state == SERVICE_LEAVING)
            continue;
        s->state = SERVICE_FREE;
        if (a->link.state == LINK_READY) {
            s->state = SERVICE_LEAVING;
            ask_host(a, s, AGENT_UNREGISTER);
        }
    }
}
