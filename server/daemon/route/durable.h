// The router's side of the journal: opens it, sorts what it holds by environment until the environments are
// there, and keeps what finds duplicates and lets replies through a restart. Used by the router's files only.
#pragma once

#include "journal/journal.h"
#include "route/kept_box.h"

struct router;
struct call;
struct durable;

int durable_open(struct router *r, const struct journal_config *config, struct durable **ret,
                 struct err *err);
// Writes what is pending and closes the journal: from here on nothing is stored or forgotten. NULL is fine.
void durable_close(struct durable *d);
void durable_free(struct durable *d); // after the mailboxes; NULL is fine
struct journal *const *durable_journal(const struct durable *d);

// What was recovered for that environment, the caller's (durable_free_box), or NULL.
struct kept_box *durable_take_box(struct durable *d, const char *tenant, const char *name);
void durable_free_box(struct kept_box *box); // NULL is fine
// Every environment is there: calls between them wait again, and what belongs to nobody is forgotten.
void durable_settle(struct durable *d);

// Before a reply is put: that it was sent, so that it can be sent again. Nobody waits for it.
void durable_keep_reply(struct durable *d, const char *tenant, const char *name, uint64_t dedup_key);
// A reply capability, with what is known of it now, instead of what was kept before. Nobody waits for it.
void durable_keep_call(struct durable *d, struct call *call);
// The reply to an operator's call, which is kept with it. 0, or what journal_append() says.
int durable_keep_answer(struct durable *d, struct call *call, const struct message *reply,
                        journal_done_cb *done, void *arg);
void durable_forget_call(struct durable *d, const struct call *call);
// Once a second: what could not be written yet.
void durable_tick(struct durable *d);
// What an operator is told when a mailbox cannot store; "" when it is not the journal's fault.
void durable_describe(const struct durable *d, char *out, size_t cap);
