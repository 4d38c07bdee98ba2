// Whatever may happen around an agent, in any order: a script of steps, each an operation, an argument and,
// for what is said, a length and bytes. Finds what one stream alone cannot: links that break under load,
// programs that stop reading, memory that runs out.
#include "harness.h"

struct script {
    const uint8_t *data;
    size_t left;
};

static uint8_t next(struct script *s)
{
    if (s->left == 0)
        return 0;
    s->left--;
    return *s->data++;
}

static void step_say(struct harness *h, struct script *s, int who)
{
    size_t n = next(s);
    n = n < s->left ? n : s->left;
    harness_say_bytes(h, who, s->data, n);
    s->data += n;
    s->left -= n;
}

static void step_host_says(struct harness *h, struct script *s, uint8_t arg)
{
    (void)arg;
    step_say(h, s, HOST);
}

static void step_program_says(struct harness *h, struct script *s, uint8_t arg)
{
    step_say(h, s, arg % PROGRAMS);
}

static void step_program_comes(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_program(h, arg % PROGRAMS);
}

static void step_program_goes(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_hang_up(h, arg % PROGRAMS);
}

static void step_link_breaks(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    (void)arg;
    harness_hang_up(h, HOST);
}

static void step_link_comes(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    (void)arg;
    harness_pass(h, 5000);
    harness_link_up(h);
}

static void step_time_passes(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_pass(h, (uint64_t)arg * 100);
}

static void step_host_room(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    h->host.room = arg == 255 ? SIZE_MAX : arg;
    agent_host_writable(h->agent);
}

static void step_program_room(struct harness *h, struct script *s, uint8_t arg)
{
    h->programs[arg % PROGRAMS].room = (size_t)next(s) * 4;
    agent_client_writable(h->agent, arg % PROGRAMS);
}

static void step_memory(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    h->blocks_max = arg == 255 ? 10000 : arg;
}

static void step_send(struct harness *h, struct script *s, uint8_t arg)
{
    struct agent_frame m = harness_message(AGENT_SEND, next(s) % MESSAGE_KIND_COUNT, "db", arg);
    harness_say(h, arg % PROGRAMS, &m);
}

static void step_deliver(struct harness *h, struct script *s, uint8_t arg)
{
    struct agent_frame m =
        harness_message(AGENT_DELIVER, next(s) % MESSAGE_KIND_COUNT, arg % 2 ? ":db" : "web", arg);
    m.envelope.correlation = harness_message(AGENT_SEND, MESSAGE_CALL, "db", next(s)).envelope.id;
    harness_say(h, HOST, &m);
}

static void step_politeness(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    h->polite_host = arg & 1;
    h->polite_programs = arg & 2;
}

static void step_register(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_say(
        h, arg % PROGRAMS,
        &(struct agent_frame){.type = arg & 64 ? AGENT_UNREGISTER : AGENT_REGISTER,
                              .tag = arg,
                              .service = {(const uint8_t *)(arg & 32 ? "db" : "x"), arg & 32 ? 2 : 1}});
}

static void step_credit(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(h, arg % PROGRAMS, &(struct agent_frame){.type = AGENT_CREDIT, .credit = next(s)});
}

static void step_monitor(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_say(
        h, arg % PROGRAMS,
        &(struct agent_frame){.type = arg & 64 ? AGENT_UNMONITOR : AGENT_MONITOR,
                              .tag = arg,
                              .address = {(const uint8_t *)(arg & 32 ? "db" : "x"), arg & 32 ? 2 : 1}});
}

static void step_gone(struct harness *h, struct script *s, uint8_t arg)
{
    uint32_t tag = arg & 64 ? 4u << 28 | (uint32_t)next(s) << 8 | next(s) : 0;
    harness_say(h, HOST,
                &(struct agent_frame){.type = AGENT_GONE,
                                      .tag = tag,
                                      .gone = {{(const uint8_t *)(arg & 32 ? "db" : "x"), arg & 32 ? 2 : 1},
                                               arg & 1 ? AGENT_GONE_UNKNOWN : AGENT_GONE_CERTAIN,
                                               {0}}});
}

static void step_answer(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(h, arg % PROGRAMS,
                &(struct agent_frame){
                    .type = arg & 64 ? AGENT_ACK : AGENT_RELEASE,
                    .id = harness_message(AGENT_DELIVER, MESSAGE_SEND, "web", next(s)).envelope.id});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct harness * h, struct script * s, uint8_t arg) = {
        step_host_says,  step_program_says, step_program_comes, step_program_goes, step_link_breaks,
        step_link_comes, step_time_passes,  step_host_room,     step_program_room, step_memory,
        step_send,       step_deliver,      step_politeness,    step_register,     step_credit,
        step_monitor,    step_gone,         step_answer,
    };
    static struct harness h;
    struct script s = {.data = data, .left = size};
    harness_init(&h);
    harness_link_up(&h);
    while (s.left > 0) {
        uint8_t op = next(&s);
        steps[op % (sizeof steps / sizeof steps[0])](&h, &s, next(&s));
        harness_pump(&h);
    }
    harness_done(&h);
    return 0;
}
