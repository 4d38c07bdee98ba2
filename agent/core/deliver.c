// Messages from the host: which program gets them, how much the host may send, and what became of them.
//
// Credit. A program's credit says how many messages it takes; the host's credit (link.credit) is how many it
// may still send, and is kept at the sum of the programs' credits, as far as there are slots to remember what
// they have not acknowledged. A program that dies takes its credit with it, but not what the host was given
// for it: such a surplus is used up before the host gets more, and a message that nobody wants goes back.
//
// A message for a service whose program has no credit is held: the host delivers in order, and what is behind
// it is not to wait for it. When too much is held, the host gets no more credit until some was taken; when
// that takes too long, the service is stalled. What is for a stalled service, or for one that nobody serves,
// goes back to the host, to come again later and later, until somebody takes it: then all of it comes at
// once. A host that cannot defer gets it back at once; what nobody serves is held then.
//
// What is released counts at the host as a failed attempt, what is deferred only if it was tried. Of what a
// program had when it ended, the oldest was: programs take messages in order.
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

// The host delivered it again, not knowing that a program has it: that one will answer for it.
static bool is_in_hand(const struct agent *a, uint64_t key)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX && a->n_deliveries > 0; i++)
        if (a->deliveries[i].state == DELIVERY_GIVEN && a->deliveries[i].key == key)
            return true;
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

static bool host_defers(const struct agent *a)
{
    return a->host_can & AGENT_CAN_DEFER;
}

static void give_back(struct agent *a, const struct id *id, uint32_t delay_ms, bool tried)
{
    struct agent_frame f = {.type = AGENT_RELEASE, .id = *id};
    if ((delay_ms > 0 || !tried) && host_defers(a))
        f = (struct agent_frame){.type = AGENT_DEFER, .defer = {*id, delay_ms, tried}};
    link_push(a, &f);
}

// Tells the host what became of d, now or when the link is back. delay_ms: of a release.
static void settle_delivery(struct agent *a, struct delivery *d, enum delivery_state outcome,
                            uint32_t delay_ms)
{
    d->state = outcome;
    if (a->link.state != LINK_READY)
        return;
    if (outcome == DELIVERY_ACKED)
        link_push(a, &(struct agent_frame){.type = AGENT_ACK, .id = d->id});
    else
        give_back(a, &d->id, delay_ms, d->tried);
    d->state = DELIVERY_FREE;
    a->n_deliveries--;
}

static void release(struct agent *a, int client, const struct id *id, uint32_t delay_ms)
{
    struct delivery *d = delivery_find(a, client, id);
    if (d)
        settle_delivery(a, d, DELIVERY_RELEASED, delay_ms);
}

// ---- stalled services ----

static struct stalled *stalled_find(struct agent *a, const char *service)
{
    for (size_t i = 0; i < STALLED_MAX; i++)
        if (a->stalled[i].since_ns != 0 && strcmp(a->stalled[i].service, service) == 0)
            return &a->stalled[i];
    return NULL;
}

// The service is, from now on or still: in how many ms its messages may come again. It doubles each time.
static uint32_t stall(struct agent *a, const char *service)
{
    uint64_t now_ns = agent_monotonic(a);
    struct stalled *s = stalled_find(a, service);
    if (!s) {
        s = &a->stalled[0];
        for (size_t i = 1; i < STALLED_MAX; i++) // a free one, or the oldest
            if (a->stalled[i].since_ns < s->since_ns)
                s = &a->stalled[i];
        s->since_ns = now_ns;
        memcpy(s->service, service, strlen(service) + 1);
    }
    uint64_t ms = (now_ns - s->since_ns) / NS_PER_MS;
    return ms < RETURN_MIN_MS ? RETURN_MIN_MS : ms > RETURN_MAX_MS ? RETURN_MAX_MS : (uint32_t)ms;
}

// Its program takes messages again.
static void unstall(struct agent *a, int client)
{
    for (size_t i = 0; i < STALLED_MAX; i++) {
        struct stalled *s = &a->stalled[i];
        if (s->since_ns == 0 || !service_is_owned(a, client, s->service))
            continue;
        s->since_ns = 0;
        service_recall(a, s->service);
    }
}

// ---- held ----

static bool held_full(const struct agent *a)
{
    return a->n_held >= HELD_MAX || a->held_bytes >= HELD_HIGH;
}

static void note_full(struct agent *a)
{
    a->held_full_ns = held_full(a) ? agent_monotonic(a) : 0;
    if (a->held_full_ns != 0)
        agent_wake_at(a, a->held_full_ns + HOLD_MS * NS_PER_MS);
}

// False when it cannot be held. client: NO_CLIENT when nobody serves it.
static bool hold(struct agent *a, int client, struct frame_in *in, const struct id *id, const char *service)
{
    if (held_full(a))
        return false;
    struct chunk *chunk = frame_in_detach(&a->memory, in);
    if (!chunk) {
        // It would come back at once: give the program around us time to find memory.
        a->grant_at_ns = agent_monotonic(a) + MEMORY_RETRY_MS * NS_PER_MS;
        return false;
    }
    struct held *held = &a->held[a->n_held++];
    *held = (struct held){.client = client, .id = *id, .chunk = chunk};
    memcpy(held->service, service, strlen(service) + 1);
    a->held_bytes += chunk->len;
    note_full(a);
    return true;
}

// Takes entry i out, in order; its chunk is the caller's.
static struct chunk *unhold(struct agent *a, size_t i)
{
    struct chunk *chunk = a->held[i].chunk;
    a->n_held--;
    a->held_bytes -= chunk->len;
    memmove(&a->held[i], &a->held[i + 1], (a->n_held - i) * sizeof a->held[0]);
    note_full(a);
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
        chunk_put(&a->memory, unhold(a, i));
        release(a, client, &id, 0);
    }
}

// Nothing of what is held was taken for too long, and programs that have credit wait for what is behind it.
void deliver_expire(struct agent *a, uint64_t now_ns)
{
    if (a->held_full_ns == 0)
        return;
    if (now_ns < a->held_full_ns + HOLD_MS * NS_PER_MS) {
        agent_wake_at(a, a->held_full_ns + HOLD_MS * NS_PER_MS);
        return;
    }
    while (a->n_held > 0 && a->credit > 0 && host_defers(a)) {
        struct held first = a->held[0];
        chunk_put(&a->memory, unhold(a, 0));
        release(a, first.client, &first.id, stall(a, first.service));
    }
    note_full(a);
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
    if (c->credit > 0)
        unstall(a, client);
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

void deliver_service_taken(struct agent *a, int client, const char *service)
{
    for (size_t i = 0; i < a->n_held; i++) {
        if (a->held[i].client != NO_CLIENT || strcmp(a->held[i].service, service) != 0)
            continue;
        struct delivery *d = delivery_find(a, NO_CLIENT, &a->held[i].id);
        a->held[i].client = client;
        if (d)
            d->client = client;
    }
    struct stalled *s = stalled_find(a, service);
    if (s)
        s->since_ns = 0;
    give_held(a, client);
}

// The program of the message's service has no credit, or there is none.
static void wait_for_service(struct agent *a, struct delivery *d, struct frame_in *in, const char *service)
{
    bool unserved = d->client == NO_CLIENT && !service_is_asked_for(a, service);
    if (a->credit > 0 && host_defers(a) && (unserved || stalled_find(a, service)))
        settle_delivery(a, d, DELIVERY_RELEASED, stall(a, service));
    else if (a->credit == 0 || !hold(a, d->client, in, &d->id, service))
        settle_delivery(a, d, DELIVERY_RELEASED, 0);
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
    uint64_t key = window_key(a, &f->envelope);
    if (window_was_acked(a, key)) { // the ACK was lost with a link
        link_push(a, &(struct agent_frame){.type = AGENT_ACK, .id = f->envelope.id});
        return;
    }
    if (is_in_hand(a, key))
        return;
    struct delivery *d = delivery_reserve(a);
    if (!d) { // not while deliver_grant() counts right, but nothing may depend on that
        link_doom(a, "no slot for a message");
        return;
    }
    struct address to;
    bool for_service = service_of(&f->envelope, &to);
    int client = for_service ? service_owner(a, to.name) : next_with_credit(a);
    *d = (struct delivery){.state = DELIVERY_GIVEN,
                           .client = client,
                           .id = f->envelope.id,
                           .key = key,
                           .order = a->n_delivered++};
    frame_in_set_tag(in, 0);
    if (client != NO_CLIENT && a->clients[client].credit > 0) {
        spend(a, client);
        client_forward(a, client, in);
    } else if (for_service) {
        wait_for_service(a, d, in, to.name);
    } else {
        settle_delivery(a, d, DELIVERY_RELEASED, 0);
    }
}

// ACK and RELEASE. An id that this program does not have is ignored: replies are acknowledged by the agent.
void deliver_answer(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct delivery *d = delivery_find(a, client, &f->id);
    if (!d)
        return;
    if (f->type == AGENT_ACK) {
        window_acked(a, d->key);
        settle_delivery(a, d, DELIVERY_ACKED, 0);
    } else {
        d->tried = true;
        settle_delivery(a, d, DELIVERY_RELEASED, window_returned(a, d->key));
    }
}

void deliver_link_ready(struct agent *a)
{
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++) {
        struct delivery *d = &a->deliveries[i];
        if (d->state == DELIVERY_ACKED || d->state == DELIVERY_RELEASED)
            settle_delivery(a, d, d->state, 0);
    }
}

static struct delivery *oldest_of(struct agent *a, int client)
{
    struct delivery *oldest = NULL;
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++) {
        struct delivery *d = &a->deliveries[i];
        if (d->state == DELIVERY_GIVEN && d->client == client && (!oldest || d->order < oldest->order))
            oldest = d;
    }
    return oldest;
}

void deliver_client_gone(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    release_held(a, client);
    struct delivery *oldest = oldest_of(a, client);
    if (oldest)
        oldest->tried = true;
    for (size_t i = 0; i < AGENT_DELIVERIES_MAX; i++)
        if (a->deliveries[i].state == DELIVERY_GIVEN && a->deliveries[i].client == client)
            settle_delivery(a, &a->deliveries[i], DELIVERY_RELEASED, 0);
    a->credit -= c->credit;
    c->credit = 0;
    if (a->credit == 0) // nobody is waiting for what is behind it
        release_held(a, NO_CLIENT);
}
