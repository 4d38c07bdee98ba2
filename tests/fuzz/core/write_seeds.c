// Writes the seed corpora of agent/core's fuzz targets: streams and scripts that reach every handler. Run by
// the target fuzz_seeds_core; the result is committed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/agent.h"

static const char *root;
static uint8_t bytes[8192];
static struct wire_writer w;

static void begin(uint8_t piece)
{
    wire_writer_init(&w, bytes, sizeof bytes);
    wire_write_u8(&w, piece);
}

static void finish(const char *corpus, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, corpus);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, corpus, name);
    FILE *f = fopen(path, "wb");
    if (w.overflow || !f || fwrite(bytes, 1, w.pos, f) != w.pos || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void put(enum agent_frame_type type)
{
    agent_frame_write(&w, &(struct agent_frame){.type = type, .tag = 1});
}

static void put_message(enum agent_frame_type type, enum message_kind kind, const char *to, uint8_t id,
                        uint8_t correlation)
{
    struct agent_frame f = {.type = type, .tag = type == AGENT_SEND ? id : 0};
    f.envelope = (struct envelope){.kind = kind,
                                   .id = {.bytes = {0xab, [15] = id}},
                                   .correlation = {.bytes = {0xab, [15] = correlation}},
                                   .to = view(to),
                                   .subject = view("test"),
                                   .content_type = view("text/plain"),
                                   .n_headers = 1,
                                   .headers = {{view("k"), view("v")}},
                                   .body = view("hello")};
    agent_frame_write(&w, &f);
}

static void put_id(enum agent_frame_type type, uint8_t id)
{
    agent_frame_write(&w, &(struct agent_frame){.type = type, .id = {.bytes = {0xab, [15] = id}}});
}

static void put_service(enum agent_frame_type type, const char *name)
{
    agent_frame_write(&w, &(struct agent_frame){.type = type, .tag = 3, .service = view(name)});
}

// The tags are those of the first requests after harness_init(): kind << 28 | generation << 8 | slot.
static void write_host_streams(void)
{
    begin(0);
    put(AGENT_PING);
    put_message(AGENT_DELIVER, MESSAGE_SEND, "acme/web", 1, 0);
    put_message(AGENT_DELIVER, MESSAGE_EVENT, ":db", 2, 0);
    finish("core_host", "messages");
    begin(255);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_RECEIPT, .tag = 1u << 28 | 2 << 8});
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_CLOCK_IS, .tag = 3u << 28 | 3 << 8 | 1});
    put_message(AGENT_DELIVER, MESSAGE_REPLY, "acme/web", 9, 1);
    finish("core_host", "answers");
    begin(20);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {5, view("over")}});
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_RESULT, .tag = 2u << 28 | 1 << 8});
    finish("core_host", "shutdown");
    begin(255);
    for (uint8_t i = 0; i < 5; i++)
        put_message(AGENT_DELIVER, MESSAGE_SEND, "web", i, 0);
    finish("core_host", "beyond-credit");
    begin(10);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_GONE, .gone = {view("db"), 0, view("over")}});
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_RESULT, .tag = 4u << 28 | 1 << 8});
    finish("core_host", "gone");
    begin(7);
    agent_frame_write(&w,
                      &(struct agent_frame){
                          .type = AGENT_CONFIGURE,
                          .tag = 1,
                          .configure = {view("web"), 0x0a000002, 0x0a000001, 24, 1400, {2, 0, 0, 0, 0, 1}}});
    agent_frame_write(
        &w, &(struct agent_frame){.type = AGENT_OPEN, .tag = 2, .session = {{{1}}, AGENT_SESSION_COPY}});
    put(AGENT_STATS);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_RESUMED, .realtime_ns = 1});
    finish("core_host", "machine");
    begin(255);
    agent_frame_write(&w,
                      &(struct agent_frame){.type = AGENT_ATTACH, .session = {{{1}}, AGENT_SESSION_EXEC}});
    finish("core_host", "attach");
    begin(255);
    put(AGENT_HELLO);
    finish("core_host", "out-of-place");
    begin(255);
    wire_write_u64(&w, UINT64_MAX);
    wire_write_u32(&w, UINT32_MAX);
    finish("core_host", "garbage");
}

static void put_hello(void)
{
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_HELLO, .hello = {1, 1, 0, view("seed")}});
}

static void write_client_streams(void)
{
    begin(0);
    put_hello();
    put_message(AGENT_SEND, MESSAGE_SEND, "db", 0, 0);
    put(AGENT_CLOCK);
    finish("core_client", "send-and-clock");
    begin(255);
    put_hello();
    put_message(AGENT_SEND, MESSAGE_CALL, "acme/:db", 7, 0);
    put_message(AGENT_SEND, MESSAGE_REPLY, "web", 8, 7);
    finish("core_client", "call");
    begin(30);
    put_hello();
    put_service(AGENT_REGISTER, "db");
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_CREDIT, .credit = 4});
    put_id(AGENT_ACK, 0);
    put_id(AGENT_RELEASE, 1);
    put_service(AGENT_UNREGISTER, "db");
    finish("core_client", "serve");
    begin(255);
    put_hello();
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_MONITOR, .tag = 1, .address = view("db")});
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_UNMONITOR, .tag = 2, .address = view("db")});
    finish("core_client", "monitor");
    begin(255);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_HELLO, .hello = {2, 9, 0, view("future")}});
    finish("core_client", "version");
    begin(255);
    put_hello();
    put_hello();
    finish("core_client", "hello-twice");
    begin(255);
    wire_write_raw(&w, "GET / HTTP/1.1\r\n\r\n", 18);
    finish("core_client", "http");
    begin(255);
    put_hello();
    wire_write_u32(&w, ENVELOPE_BODY_MAX);
    wire_write_u16(&w, AGENT_SEND);
    finish("core_client", "too-large");
}

// Steps by their place in the table of script_fuzz.c.
static void write_scripts(void)
{
    static const uint8_t serve_and_lose[] = {12, 3, 2, 0, 13, 32, 14, 0, 3, 11, 1,
                                             0,  0, 4, 0, 5,  0,  11, 2, 0, 0};
    static const uint8_t slow_host[] = {12, 3, 2, 1, 7, 10, 10, 1, 1, 10, 5, 0, 6, 100, 7, 255, 4, 0, 5, 0};
    static const uint8_t slow_program[] = {12, 1, 2, 2, 14,  2, 9, 8,   2, 1, 11,
                                           0,  0, 0, 6, 255, 8, 2, 255, 3, 2};
    static const uint8_t no_memory[] = {12, 3, 2, 0, 9, 1, 10, 0, 1, 13, 32, 6, 1, 9, 255, 6, 1, 10, 4, 1};
    static const uint8_t monitor_and_lose[] = {12, 1,  2, 0, 15, 32, 4,  0,  5,  0, 16, 32,
                                               16, 96, 0, 3, 0,  15, 96, 16, 33, 3, 0};
    static const uint8_t release_and_stall[] = {12, 1, 2, 0,  14, 0, 9, 11, 2, 0, 0, 17, 0,  2, 11,
                                                2,  0, 0, 17, 0,  2, 1, 11, 1, 0, 0, 13, 32, 6, 200};
    static const uint8_t machine[] = {18, 33, 5, 18, 40, 0,  19, 0, 2,  19, 1,
                                      1,  20, 0, 20, 1,  20, 2,  1, 20, 3,  9};
    static const uint8_t machine_of_a_slow_host[] = {7, 0,  20, 0, 18, 33, 5,  19, 1, 1,
                                                     7, 20, 4,  0, 5,  0,  20, 0,  7, 255};
    static const uint8_t cannot[] = {23, 0, 20, 0, 5, 0, 23, 4, 20, 0, 19, 0, 0, 5, 0, 23, 8, 20, 2, 1};
    static const uint8_t late_answers[] = {2,  0, 2, 1,  13, 32, 15, 33, 22, 1, 10, 0, 0, 21, 1, 0, 21, 2, 0,
                                           21, 0, 6, 21, 3,  0,  21, 3,  0,  4, 0,  5, 0, 21, 1, 0, 21, 0, 0};
    static const uint8_t poor_host[] = {2, 0, 15, 32, 4, 0, 5, 3, 15, 1, 4, 0, 5, 4, 4, 0, 5, 8, 5, 16, 5, 0};
    const struct {
        const char *name;
        const uint8_t *data;
        size_t n;
    } scripts[] = {
        {"serve-and-lose", serve_and_lose, sizeof serve_and_lose},
        {"slow-host", slow_host, sizeof slow_host},
        {"slow-program", slow_program, sizeof slow_program},
        {"no-memory", no_memory, sizeof no_memory},
        {"monitor-and-lose", monitor_and_lose, sizeof monitor_and_lose},
        {"release-and-stall", release_and_stall, sizeof release_and_stall},
        {"machine", machine, sizeof machine},
        {"machine-of-a-slow-host", machine_of_a_slow_host, sizeof machine_of_a_slow_host},
        {"cannot", cannot, sizeof cannot},
        {"late-answers", late_answers, sizeof late_answers},
        {"poor-host", poor_host, sizeof poor_host},
    };
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        wire_writer_init(&w, bytes, sizeof bytes);
        wire_write_raw(&w, scripts[i].data, scripts[i].n);
        finish("core_script", scripts[i].name);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    root = argv[1];
    write_host_streams();
    write_client_streams();
    write_scripts();
    return 0;
}
