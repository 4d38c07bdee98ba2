// lwIP's view of the cell kernel: types come from the compiler, complaints go to the panic port, random
// numbers and memory from the kernel.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/kernel.h"
#include "base/string.h"
#include "mem/heap.h"

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_UNISTD_H   1
#define LWIP_NO_CTYPE_H    1
#define X8_F               "x"
#define U16_F              "u"
#define S16_F              "d"
#define X16_F              "x"
#define U32_F              "u"
#define S32_F              "d"
#define X32_F              "x"
#define SZT_F              "zu"
#define SSIZE_MAX          INT64_MAX
typedef int64_t ssize_t;

#define LWIP_PLATFORM_DIAG(x)
#define LWIP_PLATFORM_ASSERT(text) kernel_panic("lwip: %s", text)
#define LWIP_RAND()                net_random()

uint32_t net_random(void);
void *net_calloc(size_t count, size_t size);
