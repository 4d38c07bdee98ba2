// Owns what the API says of the link to the message broker. Called through routes.c; everything is read from
// the link when asked.
#include <errno.h>

#include "api/internal.h"
#include "remote/remote.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *figures(const struct broker_stats *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "published",
                     number(s->published), "confirmed", number(s->confirmed), "returned", number(s->returned),
                     "nacked", number(s->nacked), "forbidden", number(s->forbidden), "unknown",
                     number(s->unknown), "not_sent", number(s->not_sent), "republished",
                     number(s->republished), "waiting", number(s->waiting), "unconfirmed",
                     number(s->unconfirmed), "deliveries", number(s->deliveries), "unsettled",
                     number(s->unsettled), "reconnects", number(s->reconnects));
}

static json_t *status(const struct broker_stats *s)
{
    return json_pack("{s:s, s:o, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "state",
                     broker_state_name(s->state), "since_ms", number(s->since_ms), "why", s->why, "product",
                     s->product, "tls", s->tls, "wanted", number(s->wanted), "missing",
                     number(s->wanted_missing), "differing", number(s->differing), "blocked_ms",
                     number(s->blocked_ms), "messages", figures(s));
}

void handle_broker(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct remote_stats s;
    json_t *body;
    if (api->deps.remote) {
        remote_get_stats(api->deps.remote, &s);
        body = json_pack("{s:s, s:o}", "kind", "broker", "status", status(&s.broker));
    } else {
        body = json_pack("{s:s, s:{s:s, s:s}}", "kind", "broker", "status", "state", "none", "why",
                         "envd was started without --broker");
    }
    reply_count(api, body ? 200 : 500);
    http_reply_json(req, body ? 200 : 500, body);
}
