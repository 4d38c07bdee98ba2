// Owns the metrics in OpenMetrics form. Called through routes.c; everything is read from the parts when
// asked.
#include <stdio.h>
#include <stdlib.h>

#include "api/internal.h"
#include "common/cleanup.h"
#include "env/stats.h"
#include "remote/remote.h"

static void environments(FILE *out, const struct api *api)
{
    size_t n[ENV_STATE_COUNT];
    manager_count(api->deps.manager, n);
    fprintf(out, "# TYPE envd_environments gauge\n# HELP envd_environments Environments by state.\n");
    for (int i = 0; i < ENV_STATE_COUNT; i++)
        fprintf(out, "envd_environments{state=\"%s\"} %zu\n", env_state_name((enum env_state)i), n[i]);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    fprintf(out, "# TYPE %s counter\n# HELP %s %s\n%s_total %llu\n", name, name, help, name,
            (unsigned long long)value);
}

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
    fprintf(out, "# TYPE %s gauge\n# HELP %s %s\n%s %llu\n", name, name, help, name,
            (unsigned long long)value);
}

static void messages(FILE *out, const struct api *api)
{
    struct router_stats s;
    router_get_stats(api->deps.router, &s);
    fprintf(out,
            "# TYPE envd_messages counter\n# HELP envd_messages Messages by what their sender was told.\n");
    fprintf(out, "envd_messages_total{code=\"%s\"} %llu\n", receipt_code_name(RECEIPT_ACCEPTED),
            (unsigned long long)s.accepted);
    for (int i = RECEIPT_ACCEPTED + 1; i < RECEIPT_CODE_COUNT; i++)
        fprintf(out, "envd_messages_total{code=\"%s\"} %llu\n", receipt_code_name((enum receipt_code)i),
                (unsigned long long)s.refused[i]);
    counter(out, "envd_messages_delivered", "Handed to agents, redeliveries included.", s.delivered);
    counter(out, "envd_messages_acked", "Processed by their receiver.", s.acked);
    counter(out, "envd_messages_stray", "Acknowledged or given back by who does not have it: ignored.",
            s.strays);
    counter(out, "envd_messages_duplicate", "Accepted again without delivering again.", s.duplicates);
    counter(out, "envd_messages_expired", "Dropped in a mailbox after their time.", s.expired);
    gauge(out, "envd_mailbox_messages", "Messages in mailboxes.", s.depth);
    gauge(out, "envd_mailbox_bytes", "Bytes in mailboxes.", s.depth_bytes);
    gauge(out, "envd_dead_letters", "Messages that were given back too often.", s.dead);
    gauge(out, "envd_calls_waiting", "Calls that wait for their reply.", s.calls_waiting);
}

static void link_state(FILE *out, const struct broker_stats *s)
{
    fprintf(out,
            "# TYPE envd_broker_state stateset\n# HELP envd_broker_state The link to the message broker.\n");
    for (int i = 0; i < BROKER_STATE_COUNT; i++)
        fprintf(out, "envd_broker_state{envd_broker_state=\"%s\"} %d\n",
                broker_state_name((enum broker_state)i), s->state == (enum broker_state)i);
    counter(out, "envd_broker_connects", "Connections that were made, both of a link.", s->connects);
    counter(out, "envd_broker_published", "Messages that were sent to it.", s->published);
    counter(out, "envd_broker_confirmed", "Of these, stored.", s->confirmed);
    counter(out, "envd_broker_returned", "Nobody was there.", s->returned);
    counter(out, "envd_broker_nacked", "A queue was full.", s->nacked);
    counter(out, "envd_broker_unknown", "Sent, and not confirmed in time.", s->unknown);
    counter(out, "envd_broker_not_sent", "Not sent in time.", s->not_sent);
    counter(out, "envd_broker_republished", "Sent again after a connection was lost.", s->republished);
    counter(out, "envd_broker_channels_renewed", "After refusals of a quorum queue, which may not be full.",
            s->renewed);
    gauge(out, "envd_broker_unconfirmed", "Sent and not confirmed yet.", s->unconfirmed);
    gauge(out, "envd_broker_waiting", "To be sent.", s->waiting);
    counter(out, "envd_broker_blocked_milliseconds", "While its alarms stopped publishers.", s->blocked_ms);
    gauge(out, "envd_broker_wanted_missing", "Queues, bindings and the like that are not there yet.",
          s->wanted_missing);
    gauge(out, "envd_broker_queues_differing",
          "Queues that have other arguments than configured, and are used as they are.", s->differing);
}

static void remote_messages(FILE *out, const struct remote_stats *s, const struct router_stats *r)
{
    fprintf(out, "# TYPE envd_arrivals counter\n# HELP envd_arrivals Messages from the broker by what was "
                 "decided.\n");
    fprintf(out, "envd_arrivals_total{code=\"%s\"} %llu\n", receipt_code_name(RECEIPT_ACCEPTED),
            (unsigned long long)r->arrived);
    for (int i = RECEIPT_ACCEPTED + 1; i < RECEIPT_CODE_COUNT; i++)
        fprintf(out, "envd_arrivals_total{code=\"%s\"} %llu\n", receipt_code_name((enum receipt_code)i),
                (unsigned long long)r->arrived_refused[i]);
    fprintf(out,
            "# TYPE envd_arrivals_unread counter\n# HELP envd_arrivals_unread Messages from the broker that "
            "were refused unread.\n");
    for (int i = AMQP_GOOD + 1; i < AMQP_FAULT_COUNT; i++)
        fprintf(out, "envd_arrivals_unread_total{reason=\"%s\"} %llu\n", amqp_fault_name((enum amqp_fault)i),
                (unsigned long long)s->malformed[i]);
    fprintf(out, "envd_arrivals_unread_total{reason=\"stale\"} %llu\n", (unsigned long long)s->stale);
    fprintf(out,
            "# TYPE envd_dead_lettered counter\n# HELP envd_dead_lettered Messages from the broker that went "
            "to its dead letters, by the reason.\n");
    for (int i = RECEIPT_ACCEPTED + 1; i < RECEIPT_CODE_COUNT; i++)
        fprintf(out, "envd_dead_lettered_total{code=\"%s\"} %llu\n", receipt_code_name((enum receipt_code)i),
                (unsigned long long)s->refused[i]);
    counter(out, "envd_arrivals_late", "Replies that nobody waited for any more.", s->late);
    counter(out, "envd_arrivals_put_back", "Left at the broker for want of room.", s->put_back);
    counter(out, "envd_broker_bundles", "AMQP messages that left with several messages in them.", s->bundles);
    counter(out, "envd_broker_bundled", "Messages that left in those.", s->bundled);
    gauge(out, "envd_broker_gathering_bytes", "Of messages that wait for earlier ones' confirms.",
          s->gathering_bytes);
    gauge(out, "envd_broker_consumers", "Queues that are consumed.", s->consumers);
    gauge(out, "envd_broker_held", "Stored, and not acknowledged until there is room for more.", s->held);
    gauge(out, "envd_broker_paused", "Queues that are left alone until there is room.", s->paused);
}

static void link_to_hosts(FILE *out, const struct api *api)
{
    struct remote_stats s;
    struct router_stats r;
    if (!api->deps.remote)
        return;
    remote_get_stats(api->deps.remote, &s);
    router_get_stats(api->deps.router, &r);
    link_state(out, &s.broker);
    remote_messages(out, &s, &r);
}

static void journal(FILE *out, const struct api *api)
{
    static const char *const names[JOURNAL_STATE_COUNT] = {"writable", "full", "failing"};
    struct journal_stats s;
    if (!router_journal_stats(api->deps.router, &s))
        return;
    fprintf(out,
            "# TYPE envd_journal_state gauge\n# HELP envd_journal_state 1 for the state that the journal "
            "of messages is in.\n");
    for (int i = 0; i < JOURNAL_STATE_COUNT; i++)
        fprintf(out, "envd_journal_state{state=\"%s\"} %d\n", names[i], s.state == (enum journal_state)i);
    gauge(out, "envd_journal_bytes", "Size of the journal's files.", s.bytes);
    gauge(out, "envd_journal_segments", "The journal's files, spare ones included.", s.segments);
    gauge(out, "envd_journal_live_records", "Records that are needed.", s.live);
    gauge(out, "envd_journal_live_bytes", "Their size on disk.", s.live_bytes);
    gauge(out, "envd_journal_recovered_records", "Needed records found when envd started.", s.recovered);
    counter(out, "envd_journal_appends", "Records made durable.", s.appends);
    counter(out, "envd_journal_syncs", "Groups of them, one fdatasync each.", s.syncs);
    counter(out, "envd_journal_damaged", "Times that something durable could not be read.", s.damaged);
    counter(out, "envd_journal_cleaned_segments",
            "Segments used again after what they still held was copied.", s.cleaned);
    counter(out, "envd_journal_copied_bytes", "Copied by that.", s.copied_bytes);
}

// Sums over all environments: one series each, however many environments there are.
static void guests(FILE *out, const struct api *api)
{
    struct vmctl_stats s;
    stats_totals(api->deps.manager, &s);
    fprintf(out,
            "# TYPE envd_guest_cpu_seconds counter\n# HELP envd_guest_cpu_seconds Time that vCPUs ran.\n"
            "envd_guest_cpu_seconds_total %.3f\n",
            (double)s.cpu_ns / 1e9);
    gauge(out, "envd_guest_memory_bytes", "Memory of guests.", s.guest_memory_bytes);
    gauge(out, "envd_guest_resident_bytes", "Of that, given by the host so far.", s.rss_bytes);
    gauge(out, "envd_guest_balloon_bytes", "Of that, given back by balloons.", s.balloon_bytes);
    counter(out, "envd_guest_net_received_bytes", "To guests.", s.net_rx_bytes);
    counter(out, "envd_guest_net_received_packets", "To guests.", s.net_rx_packets);
    counter(out, "envd_guest_net_sent_bytes", "From guests.", s.net_tx_bytes);
    counter(out, "envd_guest_net_sent_packets", "From guests.", s.net_tx_packets);
    counter(out, "envd_guest_net_dropped_packets", "Either way.", s.net_rx_dropped + s.net_tx_dropped);
    counter(out, "envd_guest_disk_reads", "Requests of guests.", s.disk_reads);
    counter(out, "envd_guest_disk_writes", "Requests of guests.", s.disk_writes);
    counter(out, "envd_guest_disk_flushes", "Requests of guests.", s.disk_flushes);
    counter(out, "envd_guest_disk_errors", "Requests that the host could not fulfil.", s.disk_errors);
    counter(out, "envd_guest_disk_read_bytes", "By guests.", s.disk_read_bytes);
    counter(out, "envd_guest_disk_written_bytes", "By guests.", s.disk_write_bytes);
}

static void api_requests(FILE *out, const struct api *api)
{
    struct http_server_stats s;
    http_server_get_stats(api->server, &s);
    fprintf(out, "# TYPE envd_api_replies counter\n# HELP envd_api_replies Replies of the API by status.\n");
    for (int i = 0; i < API_STATUS_MAX; i++)
        if (api->replies[i])
            fprintf(out, "envd_api_replies_total{status=\"%d\"} %llu\n", i,
                    (unsigned long long)api->replies[i]);
    counter(out, "envd_api_requests", "Requests with a well-formed head.", s.requests);
    counter(out, "envd_api_malformed", "Requests refused by the HTTP codec.", s.bad_requests);
    counter(out, "envd_api_timeouts", "Connections closed by a deadline.", s.timeouts);
    counter(out, "envd_api_connections_refused", "Connections over the cap.", s.refused_cap);
    gauge(out, "envd_api_connections", "Open connections.", s.connections);
}

void handle_metrics(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct mediator_stats m;
    _cleanup_free_ char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        reply_problem(api, req, 500, "internal", "no memory for the metrics");
        return;
    }
    environments(out, api);
    messages(out, api);
    link_to_hosts(out, api);
    journal(out, api);
    guests(out, api);
    api_requests(out, api);
    mediator_stats(api->deps.mediator, &m);
    counter(out, "envd_decisions", "Questions asked of the policy.", m.decisions);
    counter(out, "envd_decisions_refused", "Of these, answered with a refusal.", m.refused);
    gauge(out, "envd_store_revision", "Revision of the store.", store_revision(api->deps.store));
    gauge(out, "envd_privileged_helper_up", "1 while envpriv is connected.",
          manager_helper_up(api->deps.manager));
    fprintf(out, "# EOF\n");
    if (fclose(out) == 0)
        http_reply_bytes(req, 200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text, len);
    else
        reply_problem(api, req, 500, "internal", "no memory for the metrics");
}
