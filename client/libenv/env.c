// libenv's calls (env/env.h): each writes a request and handles incoming frames until it has what it waits
// for.
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define NS_PER_MS        1000000ull
#define ANSWER_MS        60000 // an agent answers at once, or when it lost its host: longer is a broken agent
#define WINDOW_MAX       256u
#define CALL_TIMEOUT_MAX (24 * 3600 * 1000)

static _Thread_local char open_error[ERROR_CAP];

const char *env_error(const struct env *env)
{
    return env ? env->error : open_error;
}

const struct env_identity *env_identity(const struct env *env)
{
    return &env->identity;
}

int env_fd(const struct env *env)
{
    return env->fd;
}

void env_close(struct env *env)
{
    if (!env)
        return;
    if (env->fd >= 0)
        close(env->fd);
    for (struct env_message *m; (m = message_dequeue(env)) != NULL;)
        env_message_free(m);
    for (struct queued_gone *g; (g = env->gone) != NULL;) {
        env->gone = g->next;
        free(g);
    }
    free(env->in);
    free(env);
}

static int greet(struct env *env, const char *path)
{
    int rc = conn_open(env, path);
    uint64_t deadline_ns = conn_deadline(ANSWER_MS);
    while (rc == 0 && !env->greeted)
        rc = conn_wait(env, deadline_ns);
    if (rc == -ETIMEDOUT)
        return env_fail(env, rc, "the agent at %s has had no link to its host for a minute: try again later",
                        path);
    return rc;
}

int env_open(struct env **ret_env)
{
    const char *path = getenv("ENV_AGENT_SOCKET");
    struct env *env = calloc(1, sizeof *env);
    if (!env) {
        strcpy(open_error, "no memory");
        return -ENOMEM;
    }
    env->fd = -1;
    env->window = 1;
    int rc = greet(env, path && *path ? path : AGENT_SOCKET_PATH);
    if (rc < 0) {
        memcpy(open_error, env->error, sizeof open_error);
        env_close(env);
        return rc;
    }
    *ret_env = env;
    return 0;
}

// ---- requests ----

static void await(struct env *env, uint32_t tag)
{
    env->pending = (struct pending){.tag = tag};
}

// Waits until the pending request is answered. 0 or the receipt code; -ETIMEDOUT.
static int await_answer(struct env *env, uint64_t deadline_ns)
{
    int rc = 0;
    while (rc == 0 && !env->pending.answered)
        rc = conn_wait(env, deadline_ns);
    env->pending.tag = 0;
    return rc < 0 ? rc : (int)env->pending.code;
}

uint64_t env_now_ms(const struct env *env)
{
    return (conn_monotonic_ns() + env->clock_offset_ns) / NS_PER_MS;
}

static int make_id(struct env *env, struct id *id)
{
    uint8_t random[10];
    if (!id_is_zero(id))
        return 0;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return env_fail(env, -EIO, "getrandom: %s", strerror(errno));
    *id = id_make(env_now_ms(env), random);
    return 0;
}

// Writes a message; the receipt is awaited by the caller.
static int submit(struct env *env, const struct env_outgoing *m, enum message_kind kind, struct id *id,
                  uint64_t expires_ms)
{
    uint8_t *frame = NULL;
    size_t len = 0;
    uint32_t tag = conn_tag(env);
    int rc = make_id(env, id);
    if (rc == 0)
        rc = message_encode(env, m, kind, id, expires_ms, tag, &frame, &len);
    if (rc != 0)
        return rc;
    await(env, tag);
    rc = conn_write_raw(env, frame, len);
    free(frame);
    return rc;
}

static int send_kind(struct env *env, const struct env_outgoing *m, enum message_kind kind, struct id *ret_id)
{
    struct id id = m->id;
    int rc = submit(env, m, kind, &id, m->expires_ms);
    if (ret_id)
        *ret_id = id;
    if (rc == 0)
        rc = await_answer(env, conn_deadline(ANSWER_MS));
    if (rc == -ETIMEDOUT)
        return env_fail(env, RECEIPT_UNKNOWN_OUTCOME, "unknown-outcome: no receipt within a minute");
    return rc;
}

int env_send(struct env *env, const struct env_outgoing *message, struct id *ret_id)
{
    return send_kind(env, message, message->event ? MESSAGE_EVENT : MESSAGE_SEND, ret_id);
}

int env_reply(struct env *env, const struct env_message *call, const struct env_outgoing *reply)
{
    if (call->kind != MESSAGE_CALL)
        return env_fail(env, -EINVAL, "only a call can be answered, this is a %s",
                        message_kind_name(call->kind));
    struct env_outgoing out = *reply;
    out.to = call->from;
    out.correlation = call->id;
    return send_kind(env, &out, MESSAGE_REPLY, NULL);
}

int env_call(struct env *env, const struct env_outgoing *message, int timeout_ms,
             struct env_message **ret_reply)
{
    if (timeout_ms < 1 || timeout_ms > CALL_TIMEOUT_MAX)
        return env_fail(env, -EINVAL, "a call's timeout is 1 ms to 24 h");
    uint64_t deadline_ns = conn_deadline(timeout_ms);
    struct id id = message->id;
    int rc = submit(env, message, MESSAGE_CALL, &id, env_now_ms(env) + (uint64_t)timeout_ms);
    if (rc != 0)
        return rc;
    env->pending.wants_reply = true;
    env->pending.call = id;
    rc = await_answer(env, deadline_ns);
    while (rc == 0 && !env->pending.reply && env->pending.code == RECEIPT_ACCEPTED)
        rc = conn_wait(env, deadline_ns);
    if (rc == 0)
        rc = (int)env->pending.code; // the receipt said accepted, and the refusal came later
    struct env_message *reply = env->pending.reply;
    await(env, 0);
    if (rc == 0)
        *ret_reply = reply;
    else
        env_message_free(reply);
    return rc == -ETIMEDOUT ? env_fail(env, rc, "no reply within %d ms", timeout_ms) : rc;
}

// ---- receiving ----

void env_set_window(struct env *env, unsigned n_messages)
{
    env->window = n_messages < 1 ? 1 : n_messages > WINDOW_MAX ? WINDOW_MAX : n_messages;
}

// Credit is renewed when half of the window is empty, so that a wide one costs few frames.
static int give_credit(struct env *env)
{
    unsigned coming = env->credit + env->n_queued;
    if (coming > env->window / 2)
        return 0;
    uint32_t more = env->window - coming;
    int rc = conn_write(env, &(struct agent_frame){.type = AGENT_CREDIT, .credit = more});
    if (rc == 0)
        env->credit += more;
    return rc;
}

int env_recv(struct env *env, int timeout_ms, struct env_message **ret_message)
{
    uint64_t deadline_ns = conn_deadline(timeout_ms);
    int rc = give_credit(env);
    while (rc == 0 && !env->first && !env->shutting_down)
        rc = conn_wait(env, deadline_ns);
    if (rc == -ETIMEDOUT)
        return env_fail(env, rc, "no message came in time");
    if (rc < 0)
        return rc;
    if (!env->first)
        return env_fail(env, -ESHUTDOWN, "the environment is to end: %s", env->shutdown_reason);
    *ret_message = message_dequeue(env);
    return 0;
}

int env_ack(struct env *env, const struct env_message *message)
{
    return conn_write(env, &(struct agent_frame){.type = AGENT_ACK, .id = message->id});
}

int env_release(struct env *env, const struct env_message *message)
{
    return conn_write(env, &(struct agent_frame){.type = AGENT_RELEASE, .id = message->id});
}

// ---- services, monitors, clock ----

static int ask(struct env *env, struct agent_frame *f)
{
    f->tag = conn_tag(env);
    await(env, f->tag);
    int rc = conn_write(env, f);
    if (rc == 0)
        rc = await_answer(env, conn_deadline(ANSWER_MS));
    return rc == -ETIMEDOUT ? env_fail(env, rc, "the agent did not answer within a minute") : rc;
}

static int ask_service(struct env *env, enum agent_frame_type type, const char *service)
{
    if (!name_valid(service, strlen(service)))
        return env_fail(env, -EINVAL,
                        "\"%s\" is not a service's name: a-z, 0-9 and -, at most 63, without the colon",
                        service);
    return ask(env,
               &(struct agent_frame){.type = type, .service = {(const uint8_t *)service, strlen(service)}});
}

int env_register(struct env *env, const char *service)
{
    return ask_service(env, AGENT_REGISTER, service);
}

int env_unregister(struct env *env, const char *service)
{
    return ask_service(env, AGENT_UNREGISTER, service);
}

static int ask_monitor(struct env *env, enum agent_frame_type type, const char *address)
{
    struct address parsed;
    size_t len = strlen(address);
    const char *what = address_parse(address, len, &parsed);
    if (what || parsed.is_service)
        return env_fail(env, -EINVAL, "\"%s\" cannot be monitored: %s", address,
                        what ? what : "it is a service; monitor the environments that serve it");
    if (!(env->agent_can & AGENT_CAN_MONITOR))
        return env_fail(env, -EOPNOTSUPP, "this host cannot monitor environments");
    return ask(env, &(struct agent_frame){.type = type, .address = {(const uint8_t *)address, len}});
}

int env_monitor(struct env *env, const char *address)
{
    return ask_monitor(env, AGENT_MONITOR, address);
}

int env_unmonitor(struct env *env, const char *address)
{
    return ask_monitor(env, AGENT_UNMONITOR, address);
}

int env_wait_gone(struct env *env, int timeout_ms, struct env_gone *ret)
{
    uint64_t deadline_ns = conn_deadline(timeout_ms);
    int rc = 0;
    while (rc == 0 && !env->gone && !env->shutting_down)
        rc = conn_wait(env, deadline_ns);
    if (rc == -ETIMEDOUT)
        return env_fail(env, rc, "none of them went away in time");
    if (rc < 0)
        return rc;
    struct queued_gone *first = env->gone;
    if (!first)
        return env_fail(env, -ESHUTDOWN, "the environment is to end: %s", env->shutdown_reason);
    *ret = first->gone;
    env->gone = first->next;
    free(first);
    return 0;
}

int env_clock(struct env *env, uint64_t *ret_realtime_ns)
{
    int rc = ask(env, &(struct agent_frame){.type = AGENT_CLOCK});
    if (rc == 0)
        *ret_realtime_ns = env->pending.realtime_ns;
    return rc;
}
