// The session protocol: one exec, copy or console, spoken between a client (envctl, through envd's HTTP upgrade) and the
// guest's agent on a stream of its own (agent.h: OPEN, ATTACH); a console's other end is envd itself.
//
// A frame is an 8-byte header and a payload of at most SESSION_PAYLOAD_MAX:
//
//     0      4      5        8
//     | len  | type | zero   | payload (len bytes)
//       u32    u8     u8[3]
//
// `text` below is u32 length and bytes without NUL, of any encoding: what Linux takes for a path or an argument.
//
//   type        direction       payload
//   EXEC        host>agent      u8 flags, u16 cols, u16 rows, str user, text cwd, u16 n + n text argv, u16 n + n text env
//   COPY        host>agent      u8 op, u32 mode, u32 uid, u32 gid, u64 size, u64 mtime_ns, text path, text target
//   STARTED     agent>client    u32 pid: of the command; 0 of a PUT, whose DATA is awaited now
//   ERROR       agent>client    u8 code, str text: what failed, why, what to try; then the stream closes
//   STDIN       client>agent    bytes, as far as CREDIT goes
//   STDOUT      agent>client    bytes; with a tty everything
//   STDERR      agent>client    bytes
//   STDIN_EOF   client>agent    empty
//   CREDIT      agent>client    u32 n: n more bytes of STDIN are welcome, so that SIGNAL and RESIZE never queue behind it
//   RESIZE      client>agent    u16 cols, u16 rows
//   SIGNAL      client>agent    u8 number, to the command's process group
//   EXIT        agent>client    u8 kind (exited, signalled), u8 status or signal; then the stream closes
//   DATA        both            bytes of a file
//   STAT        agent>client    u8 type, u32 mode, u32 uid, u32 gid, u64 size, u64 mtime_ns, text name, text target
//   END         both            32 bytes: SHA-256 of the content, zero where there is none
//
// EXEC: -> STARTED CREDIT (STDOUT|STDERR|CREDIT)* EXIT, or ERROR. Closing the stream ends the command: SIGHUP to its
//       process group, SIGKILL two seconds later.
// PUT:  -> STARTED, <- DATA* END, -> END when the file is complete, checked and in place, or ERROR at any time.
// GET:  -> STAT DATA* END.   LIST: -> STAT* END, one for each entry of a folder, or for the path itself when it is none.
// STAT: -> STAT END (of the path itself, not of what a link leads to).   MKDIR, SYMLINK: -> END.
// Console: <- (STDIN|RESIZE)*, -> CREDIT (STDOUT|CREDIT)*; ERROR when the machine ends.
// Anything malformed, out of direction or out of order ends the stream.
#pragma once

#include "proto/wire.h"

#define SESSION_HEADER_LEN    8
#define SESSION_PAYLOAD_MAX   65536u
#define SESSION_ARGS_MAX      512
#define SESSION_ENV_MAX       256
#define SESSION_USER_MAX      127
#define SESSION_PATH_MAX      4095
#define SESSION_NAME_MAX      255
#define SESSION_ERROR_MAX     1023
#define SESSION_CREDIT_MAX    (1u << 20) // a sum above this is a protocol error
#define SESSION_SIGNAL_MAX    64
#define SESSION_SHA256_LEN    32
#define SESSION_MODE_DEFAULT  UINT32_MAX // 0644 for files, 0755 for folders; an existing file keeps its own
#define SESSION_OWNER_DEFAULT UINT32_MAX // root; an existing file keeps its own
#define SESSION_MTIME_NOW     0u

enum session_frame_type {
    SESSION_EXEC = 1,
    SESSION_COPY = 2,
    SESSION_STARTED = 3,
    SESSION_ERROR = 4,
    SESSION_STDIN = 5,
    SESSION_STDOUT = 6,
    SESSION_STDERR = 7,
    SESSION_STDIN_EOF = 8,
    SESSION_CREDIT = 9,
    SESSION_RESIZE = 10,
    SESSION_SIGNAL = 11,
    SESSION_EXIT = 12,
    SESSION_DATA = 13,
    SESSION_STAT = 14,
    SESSION_END = 15,
    SESSION_FRAME_TYPE_COUNT
};

enum { SESSION_EXEC_TTY = 1, SESSION_EXEC_STDIN = 2 }; // flags; without STDIN the command reads /dev/null

enum session_copy_op {
    SESSION_COPY_PUT = 1,
    SESSION_COPY_GET = 2,
    SESSION_COPY_LIST = 3,
    SESSION_COPY_MKDIR = 4, // no error when it is there already
    SESSION_COPY_SYMLINK = 5,
    SESSION_COPY_STAT = 6,
    SESSION_COPY_OP_COUNT
};

enum session_error {
    SESSION_ERROR_NOT_FOUND = 1,      // no such command, file or folder
    SESSION_ERROR_NOT_EXECUTABLE = 2, // no permission to execute, or not a program
    SESSION_ERROR_NO_USER = 3,
    SESSION_ERROR_NO_CWD = 4,
    SESSION_ERROR_LIMIT = 5, // too many sessions, or the guest cannot make another process
    SESSION_ERROR_DENIED = 6,
    SESSION_ERROR_NO_SPACE = 7,
    SESSION_ERROR_READ_ONLY = 8,
    SESSION_ERROR_IS_FOLDER = 9,
    SESSION_ERROR_NOT_FOLDER = 10,
    SESSION_ERROR_NOT_FILE = 11,  // GET of what is neither a file nor a folder
    SESSION_ERROR_EXISTS = 12,    // MKDIR, SYMLINK where something else is
    SESSION_ERROR_INTEGRITY = 13, // the content is not what END says
    SESSION_ERROR_PROTOCOL = 14,
    SESSION_ERROR_IO = 15,
    SESSION_ERROR_GONE = 16, // the environment stopped, or the agent lost its host
    SESSION_ERROR_COUNT
};

enum session_exit_kind { SESSION_EXITED = 0, SESSION_SIGNALLED = 1 };
enum session_file_type {
    SESSION_FILE_REGULAR = 0,
    SESSION_FILE_FOLDER = 1,
    SESSION_FILE_SYMLINK = 2,
    SESSION_FILE_OTHER = 3
};

struct session_header {
    uint32_t len_bytes;
    enum session_frame_type type;
};

struct session_exec {
    uint8_t flags;
    uint16_t cols, rows;   // of a tty; 0: unknown
    struct wire_view user; // name, uid or uid:gid; empty: root
    struct wire_view cwd;  // empty: the user's home folder, / when there is none
    uint16_t n_args;       // at least 1
    struct wire_view args[SESSION_ARGS_MAX];
    uint16_t n_env; // NAME=VALUE, added to what the agent sets: PATH, HOME, USER, LOGNAME, SHELL, with a tty TERM
    struct wire_view env[SESSION_ENV_MAX];
};

struct session_copy {
    enum session_copy_op op;
    uint32_t mode, uid, gid; // PUT, MKDIR; permission bits, or *_DEFAULT
    uint64_t size;           // PUT: how many bytes will come
    uint64_t mtime_ns;       // PUT: since 1970, or SESSION_MTIME_NOW
    struct wire_view path;   // not empty; relative to /
    struct wire_view target; // SYMLINK: not empty
};

struct session_stat {
    enum session_file_type type;
    uint32_t mode, uid, gid; // mode: permission bits
    uint64_t size, mtime_ns;
    struct wire_view name;   // last part of the path; empty for /
    struct wire_view target; // of a symlink
};

// One decoded frame. Views point into the payload that was decoded.
struct session_frame {
    enum session_frame_type type;
    union {
        struct session_exec exec;
        struct session_copy copy;
        uint32_t pid; // STARTED
        struct {
            enum session_error code;
            struct wire_view text;
        } error;
        struct wire_view data; // STDIN, STDOUT, STDERR, DATA
        uint32_t credit;
        struct {
            uint16_t cols, rows;
        } size;         // RESIZE
        uint8_t signal; // 1..SESSION_SIGNAL_MAX
        struct {
            enum session_exit_kind kind;
            uint8_t value;
        } exit;
        struct session_stat stat;
        uint8_t sha256[SESSION_SHA256_LEN]; // END
    };
};

// Decodes a header. Returns NULL, or what is wrong with it.
const char *session_header_read(const uint8_t raw[SESSION_HEADER_LEN], struct session_header *ret);
// Decodes the payload that belongs to h (h->len_bytes bytes). False with *ret_error filled.
bool session_frame_read(const struct session_header *h, const void *payload, struct session_frame *ret,
                        struct wire_error *ret_error);
// Appends header and payload to w.
void session_frame_write(struct wire_writer *w, const struct session_frame *f);
size_t session_frame_size(const struct session_frame *f);
const char *session_frame_type_name(enum session_frame_type type);
// A stable word for programs, "not-found"; "unknown" for what is no code.
const char *session_error_name(enum session_error code);
