// The host programs' own log: one line per event to stderr, "<level> <program>[ tenant/env]: text". Only top-level
// handlers log (everything else returns its error), once. Thread safe: a line is one write(2).
#pragma once

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN = 1, LOG_LEVEL_INFO = 2, LOG_LEVEL_DEBUG = 3 };

// program: a string that outlives the process's logging. Lines above max are dropped.
void log_init(const char *program, enum log_level max);
// about: "tenant/env" or NULL. Bytes that are not printable are shown as \xNN: guests' texts end up here.
__attribute__((format(printf, 3, 4))) void log_line(enum log_level level, const char *about, const char *format, ...);

#define log_error(about, ...) log_line(LOG_LEVEL_ERROR, about, __VA_ARGS__)
#define log_warn(about, ...)  log_line(LOG_LEVEL_WARN, about, __VA_ARGS__)
#define log_info(about, ...)  log_line(LOG_LEVEL_INFO, about, __VA_ARGS__)
#define log_debug(about, ...) log_line(LOG_LEVEL_DEBUG, about, __VA_ARGS__)
