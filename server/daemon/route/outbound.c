// What leaves this host: messages to who is not here, to services, and to environments whose mail comes by a
// queue of its own. The broker says what became of them.
#include <errno.h>
#include <string.h>

#include "route/submission.h"

bool submission_leaves(const struct submission *s)
{
    const struct router *r = s->router;
    if (s->arrived || strcmp(s->to.tenant, NAME_HOST) == 0 || strcmp(s->to.tenant, NAME_CLIENTS) == 0)
        return false;
    if (s->to.is_service)
        return r->remote != NULL; // its servers share one queue, wherever they are
    const struct environment *target = directory_find(&r->directory, s->to.tenant, s->to.name);
    return target ? target->queue : r->remote != NULL;
}

static void refuse_unsent(struct submission *s, int rc)
{
    if (rc == -EMSGSIZE)
        submission_refuse(s, RECEIPT_TOO_LARGE, MEDIATE_REASON_LINK);
    else
        submission_refuse(s, RECEIPT_HOST_UNREACHABLE, MEDIATE_REASON_LINK);
}

static struct remote_message message_of(const struct submission *s)
{
    bool to_all = s->to.is_service && s->envelope.kind == MESSAGE_EVENT;
    return (struct remote_message){.way = to_all ? REMOTE_TO_SERVERS : REMOTE_TO_RECEIVER,
                                   .envelope = &s->envelope,
                                   .to = &s->to,
                                   .source = &s->source,
                                   .image = s->image};
}

// A rule that names a label of the target does not match a target whose labels are not known here: what only
// such a rule would allow is denied, and what such a rule denies is denied by the target's host.
void submission_route_out(struct submission *s)
{
    struct mediate_question q;
    struct mediate_decision d;
    struct environment *target =
        s->to.is_service ? NULL : directory_find(&s->router->directory, s->to.tenant, s->to.name);
    submission_decide(s, target, &q, &d);
    if (d.code != RECEIPT_ACCEPTED) {
        submission_refuse_by(s, &q, &d);
        return;
    }
    enum receipt_code code = submission_begin_call(s, NULL);
    if (code != RECEIPT_ACCEPTED) {
        submission_refuse(s, code, MEDIATE_REASON_CALL_LIMIT);
        return;
    }
    submission_record(s, &q, &d, RECEIPT_ACCEPTED);
    const struct remote_message m = message_of(s);
    int rc = s->router->remote ? submission_send(s, &m) : -ENOTCONN;
    if (rc < 0)
        refuse_unsent(s, rc);
    else
        submission_close(s);
}

int submission_send_reply(struct submission *s, const struct call *call)
{
    const struct call_far *far = call->far;
    struct remote_message m = message_of(s);
    m.way = far->host[0] ? REMOTE_TO_HOST : REMOTE_TO_CLIENT;
    m.host = far->host;
    m.reply_to = far->reply_to;
    m.correlation = far->correlation;
    return s->router->remote ? submission_send(s, &m) : -ENOTCONN;
}
