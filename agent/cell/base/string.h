// The few string functions that the kernel, lwIP and compiled code need; as in C17 and POSIX.
#pragma once

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int byte, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t cap);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
