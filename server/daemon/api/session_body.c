// Owns the bodies of exec and copy: checked, and turned into the frame with which the agent's stream begins
// (proto/session.h). Called by sessions.c.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "proto/session.h"

#define ARGS_BYTES_MAX 65536
#define SIZE_MAX_63    INT64_MAX // JSON's integers end there

static const char *check_user(const char *key, const char *text, size_t len)
{
    (void)key;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x21 || (unsigned char)text[i] == 0x7f)
            return "has a space or a control character: it is a name, a number, or uid:gid";
    return NULL;
}

static const char *check_variable(const char *key, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return key[0] == '\0' || strchr(key, '=') ? "a variable's name is not empty and has no =" : NULL;
}

static const struct json_field tty_fields[] = {
    {.name = "cols", .kind = JSON_FIELD_INTEGER, .min = 0, .max = 65535},
    {.name = "rows", .kind = JSON_FIELD_INTEGER, .min = 0, .max = 65535},
};

static const struct json_field exec_fields[] = {
    {.name = "argv",
     .kind = JSON_FIELD_STRINGS,
     .required = true,
     .min = 1,
     .max = SESSION_ARGS_MAX,
     .each_max = ARGS_BYTES_MAX},
    {.name = "env",
     .kind = JSON_FIELD_MAP,
     .max = SESSION_ENV_MAX,
     .each_max = ARGS_BYTES_MAX,
     .check = check_variable},
    {.name = "user", .kind = JSON_FIELD_STRING, .max = SESSION_USER_MAX, .check = check_user},
    {.name = "cwd", .kind = JSON_FIELD_STRING, .max = SESSION_PATH_MAX},
    {.name = "tty",
     .kind = JSON_FIELD_OBJECT,
     .fields = tty_fields,
     .n_fields = sizeof tty_fields / sizeof tty_fields[0]},
    {.name = "stdin", .kind = JSON_FIELD_BOOLEAN},
};

static const struct {
    const char *name;
    enum session_copy_op op;
} OPS[] = {
    {"put", SESSION_COPY_PUT},     {"get", SESSION_COPY_GET},         {"list", SESSION_COPY_LIST},
    {"mkdir", SESSION_COPY_MKDIR}, {"symlink", SESSION_COPY_SYMLINK}, {"stat", SESSION_COPY_STAT},
};

static const char *check_op(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    for (size_t i = 0; i < ARRAY_LEN(OPS); i++)
        if (strcmp(OPS[i].name, text) == 0)
            return NULL;
    return "must be put, get, list, mkdir, symlink or stat";
}

static const struct json_field copy_fields[] = {
    {.name = "op", .kind = JSON_FIELD_STRING, .required = true, .max = 16, .check = check_op},
    {.name = "path", .kind = JSON_FIELD_STRING, .required = true, .min = 1, .max = SESSION_PATH_MAX},
    {.name = "mode", .kind = JSON_FIELD_INTEGER, .min = 0, .max = 07777},
    {.name = "uid", .kind = JSON_FIELD_INTEGER, .min = 0, .max = UINT32_MAX - 1},
    {.name = "gid", .kind = JSON_FIELD_INTEGER, .min = 0, .max = UINT32_MAX - 1},
    {.name = "size", .kind = JSON_FIELD_INTEGER, .min = 0, .max = SIZE_MAX_63},
    {.name = "mtime_ns", .kind = JSON_FIELD_INTEGER, .min = 0, .max = SIZE_MAX_63},
    {.name = "target", .kind = JSON_FIELD_STRING, .min = 1, .max = SESSION_PATH_MAX},
};

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static uint8_t *encode(struct api *api, struct http_request *req, const struct session_frame *f,
                       size_t *ret_len)
{
    size_t len = session_frame_size(f);
    if (len > SESSION_HEADER_LEN + SESSION_PAYLOAD_MAX) {
        reply_problem(api, req, 422, "invalid-member",
                      "argv and env are too long together: %zu bytes, at most %u", len, SESSION_PAYLOAD_MAX);
        return NULL;
    }
    uint8_t *data = malloc(len);
    if (!data) {
        reply_problem(api, req, 500, "internal", "no memory for a session");
        return NULL;
    }
    struct wire_writer w;
    wire_writer_init(&w, data, len);
    session_frame_write(&w, f);
    *ret_len = len;
    return data;
}

// KEY=value texts, to be freed one by one. False: no memory.
static bool make_variables(const json_t *env, char *texts[SESSION_ENV_MAX], struct session_exec *exec)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)env, key, value)
    {
        if (asprintf(&texts[exec->n_env], "%s=%s", key, json_string_value(value)) < 0) {
            texts[exec->n_env] = NULL;
            return false;
        }
        exec->env[exec->n_env] = view_of(texts[exec->n_env]);
        exec->n_env++;
    }
    return true;
}

static void fill_exec(struct session_exec *exec, const json_t *body)
{
    const json_t *tty = json_object_get(body, "tty");
    size_t i;
    json_t *arg;
    exec->user = view_of(json_get_string(body, "user", ""));
    exec->cwd = view_of(json_get_string(body, "cwd", ""));
    if (json_is_object(tty)) {
        exec->flags |= SESSION_EXEC_TTY;
        exec->cols = (uint16_t)json_get_integer(tty, "cols", 0);
        exec->rows = (uint16_t)json_get_integer(tty, "rows", 0);
    }
    if (json_get_boolean(body, "stdin", false))
        exec->flags |= SESSION_EXEC_STDIN;
    json_array_foreach(json_object_get(body, "argv"), i, arg) exec->args[exec->n_args++] =
        view_of(json_string_value(arg));
}

uint8_t *session_body_exec(struct api *api, struct http_request *req, size_t *ret_len, char *subject,
                           size_t subject_cap)
{
    _cleanup_json_ json_t *body = request_body(api, req, exec_fields, ARRAY_LEN(exec_fields), false);
    _cleanup_free_ struct session_frame *f = calloc(1, sizeof *f);
    char *texts[SESSION_ENV_MAX] = {0};
    uint8_t *data = NULL;
    if (!body)
        return NULL;
    if (f && make_variables(json_object_get(body, "env"), texts, &f->exec)) {
        f->type = SESSION_EXEC;
        fill_exec(&f->exec, body);
        snprintf(subject, subject_cap, "%s", (const char *)f->exec.args[0].data);
        data = encode(api, req, f, ret_len);
    } else {
        reply_problem(api, req, 500, "internal", "no memory for a session");
    }
    for (size_t i = 0; i < SESSION_ENV_MAX; i++)
        free(texts[i]);
    return data;
}

uint8_t *session_body_copy(struct api *api, struct http_request *req, size_t *ret_len, char *subject,
                           size_t subject_cap)
{
    _cleanup_json_ json_t *body = request_body(api, req, copy_fields, ARRAY_LEN(copy_fields), false);
    if (!body)
        return NULL;
    const char *op = json_get_string(body, "op", ""), *path = json_get_string(body, "path", "");
    const char *target = json_get_string(body, "target", "");
    struct session_frame f = {
        .type = SESSION_COPY,
        .copy = {.mode = (uint32_t)json_get_integer(body, "mode", SESSION_MODE_DEFAULT),
                 .uid = (uint32_t)json_get_integer(body, "uid", SESSION_OWNER_DEFAULT),
                 .gid = (uint32_t)json_get_integer(body, "gid", SESSION_OWNER_DEFAULT),
                 .size = (uint64_t)json_get_integer(body, "size", 0),
                 .mtime_ns = (uint64_t)json_get_integer(body, "mtime_ns", SESSION_MTIME_NOW),
                 .path = view_of(path),
                 .target = view_of(target)}};
    for (size_t i = 0; i < ARRAY_LEN(OPS); i++)
        if (strcmp(OPS[i].name, op) == 0)
            f.copy.op = OPS[i].op;
    if ((f.copy.op == SESSION_COPY_SYMLINK) != (target[0] != '\0')) {
        reply_problem(api, req, 422, "invalid-member", "target is of symlink, and symlink needs one");
        return NULL;
    }
    snprintf(subject, subject_cap, "%s %s", op, path);
    return encode(api, req, &f, ret_len);
}
