// Messages from the host: which program gets them, how much the host may send, and what became of them.
//
// Credit. A program's credit says how many messages it takes; the host's credit (link.credit) is how many it
// may still send, and is kept at the sum of the programs' credits, as far as there are slots to remember what
// they have not acknowledged. A program that dies takes its credit with it, but not what the host was given
// for it: such a surplus is used up before the host gets more, and a message that nobody wants goes back.
//
// A message for a service whose program has no credit, or that nobody serves at present, is held: the host
// delivers in order, and what is behind it is not to wait for it. When too much is held, messages go back and
// the host gets no more credit until some were taken.
#include "state.h"

#include <string.h>

#define NS_PER_MS 1000000ull

// What this program has of that id. Senders may use the same id by chance or malice: then each gets its turn.
static struct delivery *delivery_find(struct agent *a, int client, const struct id *id)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX && a->n_deliveries > 0; i++) {
        struct delivery *d = &a->deliveries[i];
        if (d->state == DELIVERY_GIVEN && d->client == client && id_equals(&d->id, id))
            return d;
    }
    return NULL;
}

// True, once, for a message that comes again after the link was lost although a program still has it.
static bool is_redelivered(struct agent *a, const struct id *id)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX && a->n_deliveries > 0; i++) {
        struct delivery *d = &a->deliveries[i];
        if (d->state != DELIVERY_GIVEN || !d->from_lost_link || !id_equals(&d->id, id))
            continue;
        d->from_lost_link = false;
        return true;
    }
    return false;
}

static struct delivery *delivery_reserve(struct agent *a)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++) {
        if (a->deliveries[i].state != DELIVERY_FREE)
            continue;
        a->n_deliveries++;
        return &a->deliveries[i];
    }
    return NULL;
}

// Tells the host what became of d, now or when the link is back.
static void settle_delivery(struct agent *a, struct delivery *d, enum delivery_state outcome)
{
    d->state = outcome;
    if (a->link.state != LINK_READY)
        return;
    link_push(
        a, &(struct agent_frame){.type = outcome == DELIVERY_ACKED ? AGENT_ACK : AGENT_RELEASE, .id = d->id});
    d->state = DELIVERY_FREE;
    a->n_deliveries--;
}

static void release(struct agent *a, int client, const struct id *id)
{
    struct delivery *d = delivery_find(a, client, id);
    if (d)
        settle_delivery(a, d, DELIVERY_RELEASED);
}

// ---- held ----

static bool held_full(const struct agent *a)
{
    return a->n_held >= HELD_MAX || a->held_bytes >= HELD_HIGH;
}

// False when it cannot be held. client: NO_CLIENT when nobody serves it.
static bool hold(struct agent *a, int client, struct frame_in *in, const struct id *id)
{
    if (held_full(a))
        return false;
    struct chunk *chunk = frame_in_detach(&a->memory, in);
    if (!chunk) {
        // It would come back at once: give the program around us time to find memory.
        a->grant_at_ns = agent_monotonic(a) + MEMORY_RETRY_MS * NS_PER_MS;
        return false;
    }
    a->held[a->n_held++] = (struct held){.client = client, .id = *id, .chunk = chunk};
    a->held_bytes += chunk->len;
    return true;
}

// Takes entry i out, in order; its chunk is the caller's.
static struct chunk *unhold(struct agent *a, size_t i)
{
    struct chunk *chunk = a->held[i].chunk;
    a->n_held--;
    a->held_bytes -= chunk->len;
    memmove(&a->held[i], &a->held[i + 1], (a->n_held - i) * sizeof a->held[0]);
    return chunk;
}

static void release_held(struct agent *a, int client)
{
    for (size_t i = 0; i < a->n_held;) {
        if (a->held[i].client != client) {
            i++;
            continue;
        }
        struct id id = a->held[i].id;
        memory_put(&a->memory, unhold(a, i));
        release(a, client, &id);
    }
}

// ---- credit ----

void deliver_grant(struct agent *a)
{
    if (a->link.state != LINK_READY || held_full(a))
        return;
    if (a->grant_at_ns != 0 && agent_monotonic(a) < a->grant_at_ns) {
        agent_wake_at(a, a->grant_at_ns);
        return;
    }
    a->grant_at_ns = 0;
    uint32_t n_free = AGENT_DELIVERIES_MAX - a->n_deliveries;
    uint32_t wanted = a->credit < n_free ? a->credit : n_free;
    if (wanted <= a->link.credit)
        return;
    link_push(a, &(struct agent_frame){.type = AGENT_CREDIT, .credit = wanted - a->link.credit});
    a->link.credit = wanted;
}

static void spend(struct agent *a, int client)
{
    a->clients[client].credit--;
    a->credit--;
}

static void give_held(struct agent *a, int client)
{
    for (size_t i = 0; i < a->n_held && a->clients[client].credit > 0;) {
        if (a->held[i].client != client) {
            i++;
            continue;
        }
        spend(a, client);
        client_push_chunk(a, client, unhold(a, i));
    }
}

void deliver_credit(struct agent *a, int client, uint32_t n)
{
    struct client *c = &a->clients[client];
    if (n > AGENT_CREDIT_MAX - c->credit) {
        client_doom(a, client, "it gave more credit than the protocol allows");
        return;
    }
    c->credit += n;
    a->credit += n;
    give_held(a, client);
}

// ---- messages ----

// The next program with credit, each in turn.
static int next_with_credit(struct agent *a)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++) {
        int client = (a->next_client + i) % AGENT_CLIENTS_MAX;
        if (a->clients[client].credit == 0 || a->clients[client].doom)
            continue;
        a->next_client = client + 1;
        return client;
    }
    return NO_CLIENT;
}

// The service that a message is for; false when it is for the environment.
static bool service_of(const struct envelope *e, struct address *ret_to)
{
    return address_parse((const char *)e->to.data, e->to.len, ret_to) == NULL && ret_to->is_service;
}

static bool held_is_for(const struct held *held, const char *service)
{
    struct agent_header h;
    struct agent_frame f;
    struct wire_error error;
    struct address to;
    return !agent_header_read(held->chunk->data, &h) &&
           agent_frame_read(&h, held->chunk->data + AGENT_HEADER_LEN, &f, &error) &&
           service_of(&f.envelope, &to) &&
           wire_view_equals((struct wire_view){(const uint8_t *)to.name, strlen(to.name)}, service);
}

void deliver_service_taken(struct agent *a, int client, const char *service)
{
    for (size_t i = 0; i < a->n_held; i++) {
        if (a->held[i].client != NO_CLIENT || !held_is_for(&a->held[i], service))
            continue;
        struct delivery *d = delivery_find(a, NO_CLIENT, &a->held[i].id);
        a->held[i].client = client;
        if (d)
            d->client = client;
    }
    give_held(a, client);
}

void deliver_message(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    if (f->envelope.kind == MESSAGE_REPLY) {
        send_reply(a, in, f);
        return;
    }
    if (a->link.credit == 0) {
        link_doom(a, "the host sent a message without credit");
        return;
    }
    a->link.credit--;
    if (is_redelivered(a, &f->envelope.id))
        return; // the program that has it will answer for it
    struct delivery *d = delivery_reserve(a);
    if (!d) { // not while deliver_grant() counts right, but nothing may depend on that
        link_doom(a, "no slot for a message");
        return;
    }
    struct address to;
    bool for_service = service_of(&f->envelope, &to);
    int client = for_service ? service_owner(a, to.name) : next_with_credit(a);
    *d = (struct delivery){.state = DELIVERY_GIVEN, .client = client, .id = f->envelope.id};
    frame_in_set_tag(in, 0);
    if (client != NO_CLIENT && a->clients[client].credit > 0) {
        spend(a, client);
        client_forward(a, client, in);
    } else if (!(for_service && a->credit > 0 && hold(a, client, in, &d->id))) {
        settle_delivery(a, d, DELIVERY_RELEASED);
    }
}

// ACK and RELEASE. An id that this program does not have is ignored: replies are acknowledged by the agent.
void deliver_answer(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct delivery *d = delivery_find(a, client, &f->id);
    if (d)
        settle_delivery(a, d, f->type == AGENT_ACK ? DELIVERY_ACKED : DELIVERY_RELEASED);
}

void deliver_link_ready(struct agent *a)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++) {
        struct delivery *d = &a->deliveries[i];
        if (d->state == DELIVERY_ACKED || d->state == DELIVERY_RELEASED)
            settle_delivery(a, d, d->state);
    }
}

void deliver_link_lost(struct agent *a)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++)
        a->deliveries[i].from_lost_link = true;
}

void deliver_client_gone(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    release_held(a, client);
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++)
        if (a->deliveries[i].state == DELIVERY_GIVEN && a->deliveries[i].client == client)
            settle_delivery(a, &a->deliveries[i], DELIVERY_RELEASED);
    a->credit -= c->credit;
    c->credit = 0;
    if (a->credit == 0) // nobody is waiting for what is behind it
        release_held(a, NO_CLIENT);
}
