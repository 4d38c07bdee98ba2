// A message between its arrival and its receipt. Used by submit.c (what is checked, who decides), choose.c
// (which receivers here), outbound.c and inbound.c (to and from other hosts) and store.c (into mailboxes, and
// the receipt).
#pragma once

#include "route/router_internal.h"

#define RECORDS_PER_MESSAGE 16 // of an event with more receivers, the first ones' decisions are remembered

struct submission {
    struct router *router;
    struct environment
        *sender; // NULL: an operator, or, once submission_close() returned, not looked at any more
    struct submit what;
    struct router_receipt receipt;
    struct envelope envelope; // as it will be delivered; its strings are the sender's or below
    struct address from, to;  // with their tenants
    char from_text[ADDRESS_CAP], to_text[ADDRESS_CAP];
    char subject[SUBJECT_CAP];
    struct mediate_party source; // labels and image: until submission_close()
    const char *image;
    uint64_t now_ms, now_ns;
    uint64_t dedup_key;
    struct message *message;
    uint64_t call_handle; // the capability that this message made; 0: none, or another's retry
    uint64_t reply_to;    // the capability that this message uses
    bool call_again;      // an operator's call is there already, and waits or has its reply
    unsigned n_pending;   // puts that are not done, and one for as long as more may come
    unsigned n_recorded;
    bool arrived; // from another host, or from this one through the broker
    bool stored, duplicate, unknown;
    enum receipt_code link_refusal; // of the broker; ACCEPTED: none
    enum receipt_code may_know;     // of a refusal: what its sender may
};

// A stage of its trace, at the time of its submission or now.
static inline void submission_trace_begun(const struct submission *s, enum trace_stage stage, uint64_t place)
{
    trace_add_at(&s->router->trace,
                 &(struct trace_record){
                     .id = s->receipt.id, .at_ns = s->now_ns, .place = place, .stage = (uint8_t)stage});
}

// choose.c: decides and puts the message where it may go, or refuses it.
void submission_route(struct submission *s);
void submission_route_here(struct submission *s);
void submission_decide(struct submission *s, struct environment *target, struct mediate_question *q,
                       struct mediate_decision *d);
void submission_refuse_nobody_there(struct submission *s);
// Makes the reply capability of a call before its callee (NULL: elsewhere) can see it. ACCEPTED, or why not.
enum receipt_code submission_begin_call(struct submission *s, struct environment *callee);
// The question about one receiver; target NULL: as addressed, nobody is there.
void submission_question(const struct submission *s, struct environment *target,
                         struct mediate_question *ret);

// submit.c: lets a reply use its capability, or refuses it.
void submission_answer(struct submission *s, struct call *call);

// outbound.c
// Whether the message leaves by the broker.
bool submission_leaves(const struct submission *s);
// Decides with what this host knows, and sends it.
void submission_route_out(struct submission *s);
// Sends a reply to a far caller. -errno of remote_ops.send().
int submission_send_reply(struct submission *s, const struct call *call);

// inbound.c: what choose.c and submit.c do differently with what arrived.
// Makes the reply capability of a call of elsewhere, or finds that of an own one. ACCEPTED, or why not.
enum receipt_code submission_begin_arrived_call(struct submission *s, struct environment *callee);
void submission_arrived_reply(struct submission *s);

// store.c
// Ends the submission with a refusal that is not a rule's.
void submission_refuse(struct submission *s, enum receipt_code code, enum mediate_reason reason);
// Ends it with a decision, and records it. q NULL: as addressed.
void submission_refuse_by(struct submission *s, const struct mediate_question *q,
                          const struct mediate_decision *d);
void submission_record(struct submission *s, const struct mediate_question *q,
                       const struct mediate_decision *d, enum receipt_code told);
// Puts the message into a receiver's mailbox. -ENOMEM.
int submission_put(struct submission *s, struct environment *target);
// Keeps an operator's reply: it is stored when it is in the journal. What journal_append() says.
int submission_keep_reply(struct submission *s, struct call *call);
// Hands the message to the broker. -errno of remote_ops.send().
int submission_send(struct submission *s, const struct remote_message *m);
// No more puts will come: ends the submission when all are done.
void submission_close(struct submission *s);
