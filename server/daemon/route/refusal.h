// Refusals that come after `accepted`: what a sender may know of them, and how a caller hears of one. Used by
// the router's files; the link sees remote.h.
#pragma once

#include "route/calls.h"
#include "route/remote.h"

struct submission;

// An arrival that is refused with d; its call, if it made one, must still be there.
void refusal_of_submission(const struct submission *s, const struct mediate_decision *d,
                           struct remote_refusal *ret);
// A call that waits, and will not be answered.
void refusal_of_call(const struct call *call, enum receipt_code code, struct remote_refusal *ret);
