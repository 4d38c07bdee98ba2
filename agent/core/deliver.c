// Messages from the host: which program gets them, how much the host may send, and what became of them.
//
// Credit. A program's credit says how many messages it takes; the host's credit (link.credit) is how many it
// may still send, and is kept at the sum of the programs' credits, as far as there are slots to remember what
// they have not acknowledged. A program that dies takes its credit with it, but not what the host was given
// for it: such a surplus is used up before the host gets more, and a message that nobody wants goes back.
//
// A message for a service whose program has no credit is held for it, so that others' credit is not spent on
// it; when too much is held, messages go back and the host gets no more credit until the program has taken
// some.
#include "state.h"

static struct delivery *delivery_find(struct agent *a, const struct id *id)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX && a->n_deliveries > 0; i++)
        if (a->deliveries[i].state == DELIVERY_GIVEN && id_equals(&a->deliveries[i].id, id))
            return &a->deliveries[i];
    return NULL;
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

static bool held_full(const struct agent *a)
{
    return a->n_held >= HELD_MAX || a->held_bytes >= HELD_HIGH;
}

// ---- credit ----

void deliver_grant(struct agent *a)
{
    if (a->link.state != LINK_READY || held_full(a))
        return;
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
    struct client *c = &a->clients[client];
    while (c->held_head && c->credit > 0) {
        struct chunk *chunk = c->held_head;
        c->held_head = chunk->next;
        if (!c->held_head)
            c->held_tail = NULL;
        a->n_held--;
        a->held_bytes -= chunk->len;
        spend(a, client);
        client_push_chunk(a, client, chunk);
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

static int choose(struct agent *a, const struct envelope *e)
{
    struct address to;
    if (address_parse((const char *)e->to.data, e->to.len, &to) == NULL && to.is_service)
        return service_owner(a, to.name);
    return next_with_credit(a);
}

// False when it cannot be held.
static bool hold(struct agent *a, int client, struct frame_in *in)
{
    struct client *c = &a->clients[client];
    struct chunk *chunk = held_full(a) ? NULL : frame_in_detach(&a->memory, in);
    if (!chunk)
        return false;
    if (c->held_tail)
        c->held_tail->next = chunk;
    else
        c->held_head = chunk;
    c->held_tail = chunk;
    a->n_held++;
    a->held_bytes += chunk->len;
    return true;
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
    if (delivery_find(a, &f->envelope.id))
        return; // sent again after the link was lost; the program that has it will answer for it
    struct delivery *d = delivery_reserve(a); // there is one: see deliver_grant()
    d->id = f->envelope.id;
    d->client = choose(a, &f->envelope);
    d->state = DELIVERY_GIVEN;
    frame_in_set_tag(in, 0);
    if (d->client == NO_CLIENT) {
        settle_delivery(a, d, DELIVERY_RELEASED);
    } else if (a->clients[d->client].credit > 0) {
        spend(a, d->client);
        client_forward(a, d->client, in);
    } else if (!hold(a, d->client, in)) {
        settle_delivery(a, d, DELIVERY_RELEASED);
    }
}

// ACK and RELEASE. An id that this program does not have is ignored: replies are acknowledged by the agent.
void deliver_answer(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct delivery *d = delivery_find(a, &f->id);
    if (d && d->client == client)
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

void deliver_client_gone(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++)
        if (a->deliveries[i].state == DELIVERY_GIVEN && a->deliveries[i].client == client)
            settle_delivery(a, &a->deliveries[i], DELIVERY_RELEASED);
    while (c->held_head) {
        struct chunk *chunk = c->held_head;
        c->held_head = chunk->next;
        a->n_held--;
        a->held_bytes -= chunk->len;
        memory_put(&a->memory, chunk);
    }
    c->held_tail = NULL;
    a->credit -= c->credit;
    c->credit = 0;
}
