// Formatting for the kernel's log and for the few files and structs that hold text. Pure; knows no device.
#pragma once

#include <stdarg.h>
#include <stddef.h>

// As snprintf, for %s %c %d %u %x %% with the modifiers l, ll and z. Always ends with a NUL (cap > 0).
// Returns the length without it, cut to cap - 1.
size_t text_vformat(char *out, size_t cap, const char *format, va_list ap);
__attribute__((format(printf, 3, 4))) size_t text_format(char *out, size_t cap, const char *format, ...);
