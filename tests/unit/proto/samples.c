// Valid messages (samples.h): plain tables of structs, encoded by the code under test; the byte-exact layout
// is pinned by the tests of each codec.
#include "samples.h"

#include <string.h>

struct wire_view view_of(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

#define V(s)                                                                                                 \
    {                                                                                                        \
        (const uint8_t *)(s), sizeof(s) - 1                                                                  \
    }
#define ID(b)                                                                                                \
    {                                                                                                        \
        {                                                                                                    \
            b, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16                                      \
        }                                                                                                    \
    }

static const struct envelope envelopes[] = {
    {.kind = MESSAGE_SEND, .to = V("db"), .subject = V("message")},
    {.kind = MESSAGE_CALL,
     .priority = 9,
     .id = ID(1),
     .expires_ms = 1700000000000,
     .from = V("acme/web"),
     .to = V("acme/:db"),
     .subject = V("db.query"),
     .content_type = V("application/json"),
     .n_headers = 2,
     .headers = {{V("trace"), V("0123")}, {V("empty"), V("")}},
     .body = V("{\"q\": 1}")},
    {.kind = MESSAGE_REPLY,
     .id = ID(3),
     .correlation = ID(1),
     .to = V("acme/web"),
     .body = V("\x00\xff\x80")},
    {.kind = MESSAGE_EVENT,
     .to = V(":logs"),
     .subject = V("log.write"),
     .content_type = V("t\xc3\xa9xt"),
     .body = V("x")},
};

static const struct agent_frame frames[] = {
    {.type = AGENT_HELLO, .hello = {1, 3, 0x10, V("libenv")}},
    {.type = AGENT_HELLO_OK,
     .hello_ok = {1, 0, V("acme"), V("web"), ENVELOPE_BODY_DEFAULT, 1700000000000000000}},
    {.type = AGENT_REJECT, .reject = {V("speak version 1")}},
    {.type = AGENT_RECEIPT, .tag = 7, .receipt = {RECEIPT_DENIED, ID(1), V("default deny")}},
    {.type = AGENT_ACK, .id = ID(1)},
    {.type = AGENT_RELEASE, .id = ID(1)},
    {.type = AGENT_CREDIT, .credit = AGENT_CREDIT_MAX},
    {.type = AGENT_REGISTER, .tag = 8, .service = V("db")},
    {.type = AGENT_UNREGISTER, .tag = 9, .service = V("d")},
    {.type = AGENT_RESULT, .tag = 9, .receipt = {.code = RECEIPT_INVALID, .detail = V("not yours")}},
    {.type = AGENT_CLOCK, .tag = 0xffffffff},
    {.type = AGENT_CLOCK_IS, .tag = 0xffffffff, .realtime_ns = UINT64_MAX},
    {.type = AGENT_SHUTDOWN, .shutdown = {5000, V("the operator stops it")}},
    {.type = AGENT_PING, .tag = 1},
    {.type = AGENT_PONG, .tag = 1},
    {.type = AGENT_CONFIGURE,
     .tag = 2,
     .configure = {V("web"), 0x0a000002, 0x0a000001, 24, 1400, {2, 0, 0, 0, 0, 1}}},
    {.type = AGENT_OPEN, .tag = 3, .session = {ID(9), AGENT_SESSION_COPY}},
    {.type = AGENT_ATTACH, .session = {ID(9), AGENT_SESSION_EXEC}},
    {.type = AGENT_STATS, .tag = 4},
    {.type = AGENT_STATS_IS, .tag = 4, .stats = {1, 2, 3, 4, 5, 6, 7, 8}},
    {.type = AGENT_RESUMED, .realtime_ns = 1700000000000000000},
    {.type = AGENT_MONITOR, .tag = 10, .address = V("db")},
    {.type = AGENT_UNMONITOR, .tag = 11, .address = V("acme/db")},
    {.type = AGENT_GONE, .gone = {V("acme/db"), AGENT_GONE_UNKNOWN, V("its host does not answer")}},
    {.type = AGENT_DEFER, .defer = {ID(1), 60000, true}},
};

static const struct privctl_message privctls[] = {
    {.type = PRIVCTL_HELLO, .tag = 1, .version = PRIVCTL_VERSION},
    {.type = PRIVCTL_HELLO_OK, .tag = 1, .hello_ok = {1, V("t9"), V("pvm"), V("KVM-PVM"), V("v1")}},
    {.type = PRIVCTL_NET_UP, .tag = 2, .net = {4095, 0x0a000001, 24}},
    {.type = PRIVCTL_NET_DOWN, .tag = 3, .net = {.net = 0}},
    {.type = PRIVCTL_SPAWN,
     .tag = 4,
     .spawn = {ID(1),
               "acme",
               "web",
               PRIVCTL_KIND_LINUX,
               64 << 20,
               100,
               250,
               16,
               7,
               {2, 0, 0, 0, 0, 1},
               0x0a000002,
               V("config")}},
    {.type = PRIVCTL_SPAWN_OK, .tag = 4, .spawn_ok = {ID(1), 4711, 65536}},
    {.type = PRIVCTL_KILL, .tag = 5, .vm = ID(1)},
    {.type = PRIVCTL_FORGET, .tag = 6, .vm = ID(1)},
    {.type = PRIVCTL_LIST, .tag = 7},
    {.type = PRIVCTL_LIST_ENTRY, .tag = 7, .entry = {ID(1), "acme", "web", 4711, 65536, true, 9}},
    {.type = PRIVCTL_EXITED, .entry = {.vm = ID(1), .exited = true, .wait_status = -1}},
    {.type = PRIVCTL_OK, .tag = 8},
    {.type = PRIVCTL_FAIL, .tag = 9, .fail = {13, V("open /dev/kvm: Permission denied")}},
};

static const struct session_frame sessions[] = {
    {.type = SESSION_EXEC,
     .exec = {.flags = SESSION_EXEC_TTY | SESSION_EXEC_STDIN,
              .cols = 80,
              .rows = 25,
              .user = V("www-data"),
              .cwd = V("/srv"),
              .n_args = 3,
              .args = {V("sh"), V("-c"), V("\xff\xfe")},
              .n_env = 2,
              .env = {V("HOME=/"), V("EMPTY=")}}},
    {.type = SESSION_EXEC, .exec = {.n_args = 1, .args = {V("true")}}},
    {.type = SESSION_COPY,
     .copy = {SESSION_COPY_PUT, 0640, 0, SESSION_OWNER_DEFAULT, 1ull << 40, 1700000000000000000,
              V("/tmp/a b"), V("")}},
    {.type = SESSION_COPY, .copy = {.op = SESSION_COPY_SYMLINK, .path = V("l"), .target = V("../x")}},
    {.type = SESSION_STARTED, .pid = 4711},
    {.type = SESSION_ERROR, .error = {SESSION_ERROR_NO_SPACE, V("write /tmp/a: no space")}},
    {.type = SESSION_STDIN, .data = V("\x00\xff")},
    {.type = SESSION_STDOUT, .data = V("out")},
    {.type = SESSION_STDERR, .data = V("err")},
    {.type = SESSION_STDIN_EOF},
    {.type = SESSION_CREDIT, .credit = SESSION_CREDIT_MAX},
    {.type = SESSION_RESIZE, .size = {132, 43}},
    {.type = SESSION_SIGNAL, .signal = 15},
    {.type = SESSION_EXIT, .exit = {SESSION_SIGNALLED, 9}},
    {.type = SESSION_DATA, .data = V("content")},
    {.type = SESSION_STAT,
     .stat = {SESSION_FILE_SYMLINK, 0777, 1, 2, 3, 1700000000000000000, V("link\xff"), V("/etc")}},
    {.type = SESSION_END, .sha256 = {1, 2, 3}},
};

static const struct vmctl_message vmctls[] = {
    {.type = VMCTL_QUERY},
    {.type = VMCTL_QUIT},
    {.type = VMCTL_STATE, .state = {VMCTL_FAILED, VMCTL_CAUSE_GUEST_FAULT, -1, V("#PF at 0x0")}},
    {.type = VMCTL_STREAM, .stream = {0x80000001, 1024}},
    {.type = VMCTL_LOG, .log_total = 1ull << 40},
    {.type = VMCTL_PAUSE},
    {.type = VMCTL_RESUME},
    {.type = VMCTL_CONSOLE},
    {.type = VMCTL_RESIZE, .resize = {132, 43}},
    {.type = VMCTL_BALLOON, .balloon_target_mib = 256},
    {.type = VMCTL_STATS},
    {.type = VMCTL_STATS_IS, .stats = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, UINT64_MAX}},
};

static const struct vmctl_config configs[] = {
    {.tenant = V("acme"), .name = V("web"), .n_vcpus = 1, .memory_mib = 8, .n_args = 1, .args = {V("/init")}},
    {.tenant = V("acme"),
     .name = V("db"),
     .n_vcpus = 1,
     .memory_mib = 3072,
     .mac = {2, 0, 0, 0, 0, 1},
     .ipv4 = 0x0a000002,
     .gateway = 0x0a000001,
     .prefix = 24,
     .log_bytes_per_s = 1 << 20,
     .log_burst_bytes = 1 << 16,
     .net_packets_per_s = 100000,
     .net_bits_per_s = 1000000000,
     .n_args = 3,
     .args = {V("serve"), V("--echo"), V("")},
     .n_env = 2,
     .env = {V("HOME=/"), V("EMPTY=")}},
    {.tenant = V("acme"),
     .name = V("host"),
     .kind = VMCTL_KIND_LINUX,
     .n_vcpus = 16,
     .memory_mib = VMCTL_LINUX_MEMORY_MAX_MIB,
     .cmdline = V("root=/dev/vda quiet"),
     .has_initrd = true,
     .n_disks = 3,
     .disks = {{.flags = VMCTL_DISK_OVERLAY,
                .id = V("root"),
                .bytes = 1 << 30,
                .requests_per_s = 1000,
                .bytes_per_s = 1 << 20},
               {.flags = VMCTL_DISK_READ_ONLY, .id = V("01234567890123456789")},
               {.id = V("")}}},
    {.tenant = V("acme"),
     .name = V("tiny"),
     .kind = VMCTL_KIND_LINUX,
     .n_vcpus = 1,
     .memory_mib = VMCTL_LINUX_MEMORY_MIN_MIB},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool finish(struct sample *ret, const char *name, const struct wire_writer *w)
{
    ret->name = name;
    ret->len = w->pos;
    return !w->overflow;
}

bool sample_envelope(size_t i, struct sample *ret)
{
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i >= COUNT(envelopes))
        return false;
    envelope_write(&w, &envelopes[i]);
    return finish(ret, message_kind_name(envelopes[i].kind), &w);
}

bool sample_agent(size_t i, struct sample *ret)
{
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i < COUNT(frames)) {
        agent_frame_write(&w, &frames[i]);
        return finish(ret, agent_frame_type_name(frames[i].type), &w);
    }
    i -= COUNT(frames);
    if (i >= 2 * COUNT(envelopes))
        return false;
    // Every envelope travels both ways.
    struct agent_frame f = {
        .type = i % 2 ? AGENT_SEND : AGENT_DELIVER, .tag = (uint32_t)i, .envelope = envelopes[i / 2]};
    agent_frame_write(&w, &f);
    return finish(ret, agent_frame_type_name(f.type), &w);
}

bool sample_session(size_t i, struct sample *ret)
{
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i >= COUNT(sessions))
        return false;
    session_frame_write(&w, &sessions[i]);
    return finish(ret, session_frame_type_name(sessions[i].type), &w);
}

bool sample_privctl(size_t i, struct sample *ret)
{
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i >= COUNT(privctls))
        return false;
    privctl_write(&w, &privctls[i]);
    return finish(ret, privctl_type_name(privctls[i].type), &w);
}

bool sample_vmctl(size_t i, struct sample *ret)
{
    static const char *const names[] = {
        [VMCTL_QUERY] = "QUERY",     [VMCTL_QUIT] = "QUIT",       [VMCTL_STATE] = "STATE",
        [VMCTL_STREAM] = "STREAM",   [VMCTL_LOG] = "LOG",         [VMCTL_PAUSE] = "PAUSE",
        [VMCTL_RESUME] = "RESUME",   [VMCTL_CONSOLE] = "CONSOLE", [VMCTL_RESIZE] = "RESIZE",
        [VMCTL_BALLOON] = "BALLOON", [VMCTL_STATS] = "STATS",     [VMCTL_STATS_IS] = "STATS_IS",
    };
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i >= COUNT(vmctls))
        return false;
    vmctl_write(&w, &vmctls[i]);
    return finish(ret, names[vmctls[i].type], &w);
}

bool sample_vmctl_config(size_t i, struct sample *ret)
{
    struct wire_writer w;
    wire_writer_init(&w, ret->data, SAMPLE_CAP);
    if (i >= COUNT(configs))
        return false;
    vmctl_config_write(&w, &configs[i]);
    static const char *const names[COUNT(configs)] = {"smallest", "full", "linux", "linux-smallest"};
    return finish(ret, names[i], &w);
}
