// Whatever may happen around an agent, in any order: a script of steps, each an operation, an argument and,
// for what is said, a length and bytes. Finds what one stream alone cannot: links that break under load,
// programs that stop reading, memory that runs out.
#include "harness.h"

#include <string.h>

struct script {
    const uint8_t *data;
    size_t left;
};

static struct wire_view name(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

// Two names are enough for one to be known and one not.
static struct wire_view one_of_two(uint8_t arg)
{
    return name(arg & 32 ? "db" : "x");
}

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

// Bits of arg: the host cannot 1 monitor, 2 defer; 4 it calls the environment otherwise; 8 refuses it, 16
// answers with a version that was not offered.
static void step_link_comes(struct harness *h, struct script *s, uint8_t arg)
{
    struct agent_frame greeting = harness_hello_ok();
    (void)s;
    greeting.hello_ok.capabilities &= ~(uint32_t)arg;
    greeting.hello_ok.version += arg >> 4 & 1;
    if (arg & 4)
        greeting.hello_ok.name = name("x");
    if (arg & 8)
        greeting = (struct agent_frame){.type = AGENT_REJECT, .reject = {name("unknown")}};
    harness_pass(h, 5000);
    harness_greet(h, &greeting);
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
    harness_say(h, arg % PROGRAMS,
                &(struct agent_frame){.type = arg & 64 ? AGENT_UNREGISTER : AGENT_REGISTER,
                                      .tag = arg,
                                      .service = one_of_two(arg)});
}

static void step_credit(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(h, arg % PROGRAMS, &(struct agent_frame){.type = AGENT_CREDIT, .credit = next(s)});
}

static void step_monitor(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_say(h, arg % PROGRAMS,
                &(struct agent_frame){.type = arg & 64 ? AGENT_UNMONITOR : AGENT_MONITOR,
                                      .tag = arg,
                                      .address = one_of_two(arg)});
}

static void step_gone(struct harness *h, struct script *s, uint8_t arg)
{
    uint32_t tag = arg & 64 ? harness_asked(h, next(s))->tag : 0;
    harness_say(h, HOST,
                &(struct agent_frame){
                    .type = AGENT_GONE,
                    .tag = tag,
                    .gone = {one_of_two(arg), arg & 1 ? AGENT_GONE_UNKNOWN : AGENT_GONE_CERTAIN, {0}}});
}

static void step_answer(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(h, arg % PROGRAMS,
                &(struct agent_frame){
                    .type = arg & 64 ? AGENT_ACK : AGENT_RELEASE,
                    .id = harness_message(AGENT_DELIVER, MESSAGE_SEND, "web", next(s)).envelope.id});
}

static void step_configure(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(
        h, HOST,
        &(struct agent_frame){
            .type = AGENT_CONFIGURE,
            .tag = arg,
            .configure = {.hostname = one_of_two(arg), .ipv4 = next(s), .prefix = arg % 33, .mtu = 1400}});
}

static void step_open(struct harness *h, struct script *s, uint8_t arg)
{
    harness_say(h, HOST,
                &(struct agent_frame){
                    .type = AGENT_OPEN,
                    .tag = arg,
                    .session = {{.bytes = {next(s)}}, arg & 1 ? AGENT_SESSION_COPY : AGENT_SESSION_EXEC}});
}

// What the host asks without a payload, or says to all.
static void step_host_plain(struct harness *h, struct script *s, uint8_t arg)
{
    static const enum agent_frame_type types[] = {AGENT_STATS, AGENT_PING, AGENT_RESUMED, AGENT_SHUTDOWN};
    struct agent_frame f = {.type = types[arg % 4], .tag = arg};
    if (f.type == AGENT_RESUMED)
        f.realtime_ns = (uint64_t)next(s) << 56;
    if (f.type == AGENT_SHUTDOWN)
        f.shutdown.grace_ms = next(s);
    harness_say(h, HOST, &f);
}

static void step_host_answers(struct harness *h, struct script *s, uint8_t arg)
{
    harness_answer(h, arg % ASKED_MAX, next(s) % RECEIPT_CODE_COUNT);
}

static void step_clock(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_say(h, arg % PROGRAMS, &(struct agent_frame){.type = AGENT_CLOCK, .tag = arg});
}

// The agent ends, and another begins that can what arg says.
static void step_agent_anew(struct harness *h, struct script *s, uint8_t arg)
{
    (void)s;
    harness_done(h);
    harness_init(h, arg & EVERY_CAPABILITY);
    harness_link_up(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct harness * h, struct script * s, uint8_t arg) = {
        step_host_says,  step_program_says, step_program_comes, step_program_goes, step_link_breaks,
        step_link_comes, step_time_passes,  step_host_room,     step_program_room, step_memory,
        step_send,       step_deliver,      step_politeness,    step_register,     step_credit,
        step_monitor,    step_gone,         step_answer,        step_configure,    step_open,
        step_host_plain, step_host_answers, step_clock,         step_agent_anew,
    };
    static struct harness h;
    struct script s = {.data = data, .left = size};
    harness_init(&h, EVERY_CAPABILITY);
    harness_link_up(&h);
    while (s.left > 0) {
        uint8_t op = next(&s);
        steps[op % (sizeof steps / sizeof steps[0])](&h, &s, next(&s));
        harness_pump(&h);
    }
    harness_done(&h);
    return 0;
}
