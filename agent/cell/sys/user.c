// See user.h.
#include "sys/user.h"

#include <linux/errno.h>

#include "base/kernel.h"
#include "base/string.h"
#include "fs/tree.h"

// How many bytes from address on are the program's; 0 when it is not one of them.
static uint64_t user_room(uint64_t address)
{
    uint64_t end = cell_boot()->memory_bytes;
    if (address >= CELL_PROGRAM_MIN && address < end)
        return end - address;
    if (address >= CELL_ARGS_GPA && address < CELL_ARGS_GPA + CELL_ARGS_MAX)
        return CELL_ARGS_GPA + CELL_ARGS_MAX - address;
    return 0;
}

bool user_ok(uint64_t address, uint64_t n)
{
    return n == 0 || n <= user_room(address);
}

int user_get(void *to, uint64_t from, size_t n)
{
    if (!user_ok(from, n))
        return -EFAULT;
    memcpy(to, (const void *)from, n);
    return 0;
}

int user_put(uint64_t to, const void *from, size_t n)
{
    if (!user_ok(to, n))
        return -EFAULT;
    memcpy((void *)to, from, n);
    return 0;
}

int64_t user_path(uint64_t address, const char **ret)
{
    uint64_t room = user_room(address);
    if (!room)
        return -EFAULT;
    size_t cap = room < TREE_PATH_MAX ? room : TREE_PATH_MAX;
    size_t len = strnlen((const char *)address, cap);
    if (len == cap)
        return cap == TREE_PATH_MAX ? -ENAMETOOLONG : -EFAULT;
    *ret = (const char *)address;
    return (int64_t)len;
}
