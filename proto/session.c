// The frames of the session protocol (session.h): one row per type in each table. Called by envctl, envd and
// envagent. Knows the payloads, not the order in which frames may come.
#include "proto/session.h"

#include "fields.h"

// The shortest and longest payload of each type, so that a header alone tells how much is worth buffering.
static const struct payload_size {
    uint32_t min, max;
} sizes[SESSION_FRAME_TYPE_COUNT] = {
    [SESSION_EXEC] = {20, SESSION_PAYLOAD_MAX},
    [SESSION_COPY] = {38, 37 + 2 * SESSION_PATH_MAX},
    [SESSION_STARTED] = {4, 4},
    [SESSION_ERROR] = {3, 3 + SESSION_ERROR_MAX},
    [SESSION_STDIN] = {1, SESSION_PAYLOAD_MAX},
    [SESSION_STDOUT] = {1, SESSION_PAYLOAD_MAX},
    [SESSION_STDERR] = {1, SESSION_PAYLOAD_MAX},
    [SESSION_STDIN_EOF] = {0, 0},
    [SESSION_CREDIT] = {4, 4},
    [SESSION_RESIZE] = {4, 4},
    [SESSION_SIGNAL] = {1, 1},
    [SESSION_EXIT] = {2, 2},
    [SESSION_DATA] = {1, SESSION_PAYLOAD_MAX},
    [SESSION_STAT] = {37, 37 + SESSION_NAME_MAX + SESSION_PATH_MAX},
    [SESSION_END] = {SESSION_SHA256_LEN, SESSION_SHA256_LEN},
};

static bool type_known(uint32_t type)
{
    return type > 0 && type < SESSION_FRAME_TYPE_COUNT;
}

const char *session_header_read(const uint8_t raw[SESSION_HEADER_LEN], struct session_header *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, raw, SESSION_HEADER_LEN);
    uint32_t len_bytes = wire_read_u32(&r);
    uint8_t type = wire_read_u8(&r);
    uint8_t zero = wire_read_u8(&r);
    uint16_t zeros = wire_read_u16(&r);
    if (!type_known(type))
        return "unknown frame type";
    if (zero != 0 || zeros != 0)
        return "reserved header bytes are not zero";
    if (len_bytes > sizes[type].max)
        return "frame too long for its type";
    if (len_bytes < sizes[type].min)
        return "frame too short for its type";
    *ret = (struct session_header){.len_bytes = len_bytes, .type = (enum session_frame_type)type};
    return NULL;
}

static struct wire_view read_text(struct wire_reader *r, size_t max)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_bytes(r, max);
    for (size_t i = 0; i < v.len; i++)
        if (v.data[i] == 0) {
            wire_reader_fail_at(r, start, "text with a NUL byte");
            return (struct wire_view){0};
        }
    return v;
}

static struct wire_view read_path(struct wire_reader *r)
{
    size_t start = r->pos;
    struct wire_view v = read_text(r, SESSION_PATH_MAX);
    if (v.len == 0)
        wire_reader_fail_at(r, start, "empty path");
    return v;
}

static void write_text(struct wire_writer *w, struct wire_view v)
{
    wire_write_bytes(w, v.data, v.len);
}

// u16 count, then that many texts; *ret_n is what was really read.
static void read_texts(struct wire_reader *r, uint16_t min, uint16_t max, struct wire_view *ret,
                       uint16_t *ret_n)
{
    uint16_t n = field_read_u16_in(r, min, max, "too few or too many strings");
    for (*ret_n = 0; *ret_n < n && wire_reader_ok(r); (*ret_n)++)
        ret[*ret_n] = read_text(r, SESSION_PAYLOAD_MAX);
}

static void write_texts(struct wire_writer *w, const struct wire_view *texts, uint16_t n)
{
    wire_write_u16(w, n);
    for (uint16_t i = 0; i < n; i++)
        write_text(w, texts[i]);
}

static void check_env(struct wire_reader *r, size_t start, const struct session_exec *e)
{
    for (uint16_t i = 0; i < e->n_env && wire_reader_ok(r); i++) {
        size_t at = 0;
        while (at < e->env[i].len && e->env[i].data[at] != '=')
            at++;
        if (at == 0 || at == e->env[i].len)
            wire_reader_fail_at(r, start, "an environment string is not NAME=VALUE");
    }
}

static void read_exec(struct wire_reader *r, struct session_frame *f)
{
    struct session_exec *e = &f->exec;
    e->flags = field_read_u8_in(r, 0, SESSION_EXEC_TTY | SESSION_EXEC_STDIN, "unknown flags");
    e->cols = wire_read_u16(r);
    e->rows = wire_read_u16(r);
    e->user = wire_read_str(r, SESSION_USER_MAX);
    e->cwd = read_text(r, SESSION_PATH_MAX);
    size_t start = r->pos;
    read_texts(r, 1, SESSION_ARGS_MAX, e->args, &e->n_args);
    if (wire_reader_ok(r) && e->args[0].len == 0)
        wire_reader_fail_at(r, start, "empty command");
    start = r->pos;
    read_texts(r, 0, SESSION_ENV_MAX, e->env, &e->n_env);
    check_env(r, start, e);
}

static void write_exec(struct wire_writer *w, const struct session_frame *f)
{
    const struct session_exec *e = &f->exec;
    wire_write_u8(w, e->flags);
    wire_write_u16(w, e->cols);
    wire_write_u16(w, e->rows);
    field_write_view(w, e->user);
    write_text(w, e->cwd);
    write_texts(w, e->args, e->n_args);
    write_texts(w, e->env, e->n_env);
}

static uint32_t read_mode(struct wire_reader *r)
{
    size_t start = r->pos;
    uint32_t mode = wire_read_u32(r);
    if (mode > 07777 && mode != SESSION_MODE_DEFAULT)
        wire_reader_fail_at(r, start, "mode has more than permission bits");
    return mode;
}

static void read_copy(struct wire_reader *r, struct session_frame *f)
{
    struct session_copy *c = &f->copy;
    c->op = field_read_u8_in(r, SESSION_COPY_PUT, SESSION_COPY_OP_COUNT - 1, "unknown operation");
    c->mode = read_mode(r);
    c->uid = wire_read_u32(r);
    c->gid = wire_read_u32(r);
    c->size = wire_read_u64(r);
    c->mtime_ns = wire_read_u64(r);
    c->path = read_path(r);
    size_t start = r->pos;
    c->target = read_text(r, SESSION_PATH_MAX);
    if ((c->op == SESSION_COPY_SYMLINK) != (c->target.len > 0))
        wire_reader_fail_at(r, start, "a target is for a symlink, and only for it");
}

static void write_copy(struct wire_writer *w, const struct session_frame *f)
{
    const struct session_copy *c = &f->copy;
    wire_write_u8(w, (uint8_t)c->op);
    wire_write_u32(w, c->mode);
    wire_write_u32(w, c->uid);
    wire_write_u32(w, c->gid);
    wire_write_u64(w, c->size);
    wire_write_u64(w, c->mtime_ns);
    write_text(w, c->path);
    write_text(w, c->target);
}

static void read_started(struct wire_reader *r, struct session_frame *f)
{
    f->pid = wire_read_u32(r);
}

static void write_started(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u32(w, f->pid);
}

static void read_error(struct wire_reader *r, struct session_frame *f)
{
    f->error.code = field_read_u8_in(r, 1, SESSION_ERROR_COUNT - 1, "unknown error code");
    f->error.text = wire_read_str(r, SESSION_ERROR_MAX);
}

static void write_error(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u8(w, (uint8_t)f->error.code);
    field_write_view(w, f->error.text);
}

// The whole payload, as it is. An empty one would mean nothing, and cost as much as a full one.
static void read_data(struct wire_reader *r, struct session_frame *f)
{
    f->data = (struct wire_view){.data = r->data, .len = r->len};
    if (r->len == 0)
        wire_reader_fail(r, "no data");
    else if (r->len > SESSION_PAYLOAD_MAX)
        wire_reader_fail(r, "too much data");
    else
        r->pos = r->len;
}

static void write_data(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_raw(w, f->data.data, f->data.len);
}

static void read_empty(struct wire_reader *r, struct session_frame *f)
{
    (void)r;
    (void)f;
}

static void write_empty(struct wire_writer *w, const struct session_frame *f)
{
    (void)w;
    (void)f;
}

static void read_credit(struct wire_reader *r, struct session_frame *f)
{
    f->credit = field_read_u32_in(r, 0, SESSION_CREDIT_MAX, "credit out of range");
}

static void write_credit(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u32(w, f->credit);
}

static void read_resize(struct wire_reader *r, struct session_frame *f)
{
    f->size.cols = wire_read_u16(r);
    f->size.rows = wire_read_u16(r);
}

static void write_resize(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u16(w, f->size.cols);
    wire_write_u16(w, f->size.rows);
}

static void read_signal(struct wire_reader *r, struct session_frame *f)
{
    f->signal = field_read_u8_in(r, 1, SESSION_SIGNAL_MAX, "not a signal's number");
}

static void write_signal(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u8(w, f->signal);
}

static void read_exit(struct wire_reader *r, struct session_frame *f)
{
    f->exit.kind = field_read_u8_in(r, SESSION_EXITED, SESSION_SIGNALLED, "unknown kind of exit");
    f->exit.value = wire_read_u8(r);
}

static void write_exit(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u8(w, (uint8_t)f->exit.kind);
    wire_write_u8(w, f->exit.value);
}

static void read_stat(struct wire_reader *r, struct session_frame *f)
{
    struct session_stat *s = &f->stat;
    s->type = field_read_u8_in(r, SESSION_FILE_REGULAR, SESSION_FILE_OTHER, "unknown type of file");
    s->mode = field_read_u32_in(r, 0, 07777, "mode has more than permission bits");
    s->uid = wire_read_u32(r);
    s->gid = wire_read_u32(r);
    s->size = wire_read_u64(r);
    s->mtime_ns = wire_read_u64(r);
    size_t start = r->pos;
    s->name = read_text(r, SESSION_NAME_MAX);
    for (size_t i = 0; i < s->name.len; i++)
        if (s->name.data[i] == '/')
            wire_reader_fail_at(r, start, "a name with a slash");
    if (wire_view_equals(s->name, ".") || wire_view_equals(s->name, ".."))
        wire_reader_fail_at(r, start, "a name that is . or ..");
    s->target = read_text(r, SESSION_PATH_MAX);
}

static void write_stat(struct wire_writer *w, const struct session_frame *f)
{
    const struct session_stat *s = &f->stat;
    wire_write_u8(w, (uint8_t)s->type);
    wire_write_u32(w, s->mode);
    wire_write_u32(w, s->uid);
    wire_write_u32(w, s->gid);
    wire_write_u64(w, s->size);
    wire_write_u64(w, s->mtime_ns);
    write_text(w, s->name);
    write_text(w, s->target);
}

static void read_end(struct wire_reader *r, struct session_frame *f)
{
    wire_read_raw(r, f->sha256, sizeof f->sha256);
}

static void write_end(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_raw(w, f->sha256, sizeof f->sha256);
}

static const struct frame_codec {
    const char *name;
    void (*read)(struct wire_reader *r, struct session_frame *f);
    void (*write)(struct wire_writer *w, const struct session_frame *f);
} codecs[SESSION_FRAME_TYPE_COUNT] = {
    [SESSION_EXEC] = {"EXEC", read_exec, write_exec},
    [SESSION_COPY] = {"COPY", read_copy, write_copy},
    [SESSION_STARTED] = {"STARTED", read_started, write_started},
    [SESSION_ERROR] = {"ERROR", read_error, write_error},
    [SESSION_STDIN] = {"STDIN", read_data, write_data},
    [SESSION_STDOUT] = {"STDOUT", read_data, write_data},
    [SESSION_STDERR] = {"STDERR", read_data, write_data},
    [SESSION_STDIN_EOF] = {"STDIN_EOF", read_empty, write_empty},
    [SESSION_CREDIT] = {"CREDIT", read_credit, write_credit},
    [SESSION_RESIZE] = {"RESIZE", read_resize, write_resize},
    [SESSION_SIGNAL] = {"SIGNAL", read_signal, write_signal},
    [SESSION_EXIT] = {"EXIT", read_exit, write_exit},
    [SESSION_DATA] = {"DATA", read_data, write_data},
    [SESSION_STAT] = {"STAT", read_stat, write_stat},
    [SESSION_END] = {"END", read_end, write_end},
};

bool session_frame_read(const struct session_header *h, const void *payload, struct session_frame *ret,
                        struct wire_error *ret_error)
{
    struct wire_reader r;
    wire_reader_init(&r, payload, h->len_bytes);
    ret->type = h->type;
    if (type_known(h->type))
        codecs[h->type].read(&r, ret);
    else
        wire_reader_fail(&r, "unknown frame type");
    if (wire_reader_end(&r))
        return true;
    *ret_error = r.error;
    return false;
}

void session_frame_write(struct wire_writer *w, const struct session_frame *f)
{
    wire_write_u32(w, (uint32_t)(session_frame_size(f) - SESSION_HEADER_LEN));
    wire_write_u8(w, (uint8_t)f->type);
    wire_write_u8(w, 0);
    wire_write_u16(w, 0);
    codecs[f->type].write(w, f);
}

size_t session_frame_size(const struct session_frame *f)
{
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    codecs[f->type].write(&w, f);
    return SESSION_HEADER_LEN + w.pos;
}

const char *session_frame_type_name(enum session_frame_type type)
{
    return type_known(type) ? codecs[type].name : "unknown";
}

const char *session_error_name(enum session_error code)
{
    static const char *const names[SESSION_ERROR_COUNT] = {
        [SESSION_ERROR_NOT_FOUND] = "not-found",
        [SESSION_ERROR_NOT_EXECUTABLE] = "not-executable",
        [SESSION_ERROR_NO_USER] = "no-user",
        [SESSION_ERROR_NO_CWD] = "no-cwd",
        [SESSION_ERROR_LIMIT] = "limit",
        [SESSION_ERROR_DENIED] = "denied",
        [SESSION_ERROR_NO_SPACE] = "no-space",
        [SESSION_ERROR_READ_ONLY] = "read-only",
        [SESSION_ERROR_IS_FOLDER] = "is-folder",
        [SESSION_ERROR_NOT_FOLDER] = "not-folder",
        [SESSION_ERROR_NOT_FILE] = "not-file",
        [SESSION_ERROR_EXISTS] = "exists",
        [SESSION_ERROR_INTEGRITY] = "integrity",
        [SESSION_ERROR_PROTOCOL] = "protocol",
        [SESSION_ERROR_IO] = "io",
        [SESSION_ERROR_GONE] = "gone",
    };
    return code > 0 && code < SESSION_ERROR_COUNT ? names[code] : "unknown";
}
