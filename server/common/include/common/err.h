// The error contract of the host programs. A fallible function returns 0 or -errno; when a person will read the cause,
// its last parameter is a caller-owned struct err, untouched on success, wrapped on the way up:
//
//     if (rc < 0)
//         return err_wrap(err, rc, "start environment %s/%s", tenant, name);
//
// gives "start environment acme/web: open disk: Permission denied". Return or log, never both.
#pragma once

#define ERR_TEXT_CAP 512

struct err {
    char text[ERR_TEXT_CAP];
};

// Sets the text and returns rc (negative). err may be NULL.
__attribute__((format(printf, 3, 4))) int err_set(struct err *err, int rc, const char *format, ...);
// Sets "<format>: <strerror(-rc)>" and returns rc.
__attribute__((format(printf, 3, 4))) int err_errno(struct err *err, int rc, const char *format, ...);
// Puts "<format>: " in front of the text and returns rc. A text that would overflow loses its tail.
__attribute__((format(printf, 3, 4))) int err_wrap(struct err *err, int rc, const char *format, ...);
