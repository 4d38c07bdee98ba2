// Does with its agent what it should not, by its first argument:
//   send     messages that cannot be: through libenv, then as raw frames. Prints the answer to each
//   hoard    receives and never acknowledges
//   idle     connects, gives credit, and never reads
//   pretend  acknowledges and gives back what it never got: the ids in its other arguments
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/env.h"
#include "proto/agent.h"

#define BODY_MAX ENVELOPE_BODY_DEFAULT // of the story's host

static struct env *env;

static void say(const char *what, int rc)
{
    printf("rude: %s: %s\n", what, rc >= 0 ? receipt_code_name((enum receipt_code)rc) : env_error(env));
    fflush(stdout);
}

// ---- send ----

static void send_header(const char *what, const char *name, const char *value)
{
    struct env_header h = {name, value};
    struct env_outgoing m = {.to = "calm", .headers = &h, .n_headers = 1};
    say(what, env_send(env, &m, NULL));
}

static void send_to(const char *to)
{
    struct env_outgoing m = {.to = to};
    say(to, env_send(env, &m, NULL));
}

static void send_politely(char *large)
{
    struct env_outgoing m = {.to = "calm", .body = large, .body_len = BODY_MAX + 1};
    say("a body over the limit", env_send(env, &m, NULL));
    memset(large, 'v', ENVELOPE_HEADER_VALUE_MAX + 1);
    large[ENVELOPE_HEADER_VALUE_MAX + 1] = '\0';
    send_header("a header that is too long", "x", large);
    send_header("a header that is not UTF-8", "x", "\xff\xfe");
    send_header("a header without a name", "", "y");
    send_to("nobody");
    send_to("elsewhere/nobody");
    send_to(":nobody");
    send_to("No Address");
}

// What the agent ends a program's connection for shows as a read of nothing.
static void write_raw(const char *what, const uint8_t *frame, size_t len)
{
    uint8_t answer[AGENT_HEADER_LEN + 1];
    ssize_t n = 0;
    for (size_t done = 0; done < len && (n = write(env_fd(env), frame + done, len - done)) > 0;)
        done += (size_t)n;
    if (n > 0)
        n = read(env_fd(env), answer, sizeof answer);
    if (n == (ssize_t)sizeof answer && answer[4] == AGENT_RECEIPT)
        printf("rude: %s: %s\n", what, receipt_code_name((enum receipt_code)answer[AGENT_HEADER_LEN]));
    else
        printf("rude: %s: %s\n", what, n <= 0 ? "disconnected" : "an answer");
    fflush(stdout);
    env_close(env);
    if (env_open(&env) < 0)
        exit(1);
}

// A good message but for what the caller changes: a header's bytes, or its body's length.
static void send_raw(const char *what, const char *header, uint8_t *body, size_t body_len)
{
    static uint8_t frame[AGENT_HEADER_LEN + BODY_MAX + 2 * ENVELOPE_OVERHEAD_MAX];
    struct agent_frame f = {.type = AGENT_SEND, .tag = 7};
    f.envelope = (struct envelope){.to = {(const uint8_t *)"calm", 4},
                                   .subject = {(const uint8_t *)"message", 7},
                                   .n_headers = 1,
                                   .body = {body, body_len}};
    f.envelope.headers[0].name = (struct wire_view){(const uint8_t *)"x", 1};
    f.envelope.headers[0].value = (struct wire_view){(const uint8_t *)header, strlen(header)};
    struct wire_writer w;
    wire_writer_init(&w, frame, sizeof frame);
    agent_frame_write(&w, &f);
    write_raw(what, frame, w.pos);
}

static int attack_send(void)
{
    char *large = calloc(1, BODY_MAX + ENVELOPE_OVERHEAD_MAX + 1);
    if (!large)
        return 1;
    send_politely(large);
    send_raw("raw, a good message", "y", (uint8_t *)large, 10);
    send_raw("raw, a body over the limit", "y", (uint8_t *)large, BODY_MAX + 1);
    send_raw("raw, a frame over the limit", "y", (uint8_t *)large, BODY_MAX + ENVELOPE_OVERHEAD_MAX + 1);
    send_raw("raw, a header that is not UTF-8", "\xff\xfe", (uint8_t *)large, 10);
    memset(large, 'v', 2000);
    send_raw("raw, a header that is too long", large, (uint8_t *)large, 10);
    return 0;
}

// ---- the others ----

static int attack_hoard(void)
{
    struct env_message *m;
    unsigned long n = 0;
    env_set_window(env, 256);
    while (env_recv(env, -1, &m) == 0) {
        printf("rude: holds %lu\n", ++n);
        fflush(stdout);
        env_message_free(m);
    }
    return 0;
}

static int linger(void)
{
    while (sleep(60) == 0)
        ;
    return 0;
}

static int attack_idle(void)
{
    struct env_message *m;
    env_set_window(env, 256);
    env_recv(env, 0, &m); // the credit goes out with it
    printf("rude: idles\n");
    fflush(stdout);
    return linger();
}

static int attack_pretend(char **ids)
{
    struct env_message never = {.kind = MESSAGE_SEND};
    for (; *ids; ids++)
        if (id_parse(*ids, strlen(*ids), &never.id) &&
            (env_ack(env, &never) < 0 || env_release(env, &never) < 0))
            return 1;
    uint64_t clock;
    printf("rude: pretended, %s\n", env_clock(env, &clock) == 0 ? "and is still heard" : env_error(env));
    fflush(stdout);
    return linger();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (env_open(&env) < 0) {
        fprintf(stderr, "rude: %s\n", env_error(NULL));
        return 1;
    }
    if (strcmp(what, "send") == 0)
        return attack_send();
    if (strcmp(what, "hoard") == 0)
        return attack_hoard();
    if (strcmp(what, "idle") == 0)
        return attack_idle();
    return strcmp(what, "pretend") == 0 ? attack_pretend(argv + 2) : 2;
}
