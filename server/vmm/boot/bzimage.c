// Owns the validation of bzImage files and the layout of Linux's boot parameters. Called by whoever loads a
// Linux guest; reads no files and maps nothing.
#include "boot/bzimage.h"

#include <errno.h>
#include <string.h>

#include "common/checked.h"

#define PAGE_MASK    0xfffull
#define SECTOR_BYTES 512u
#define ENTRY_64     0x200u // of the 64-bit entry point in the protected-mode kernel

// Offsets in the file and in the boot parameters alike.
#define SETUP_SECTS     0x1f1u // u8
#define SYSSIZE         0x1f4u // u32, in 16 bytes
#define BOOT_FLAG       0x1feu // u16
#define JUMP_LENGTH     0x201u // u8: the header ends at 0x202 + this
#define MAGIC           0x202u // "HdrS"
#define VERSION         0x206u // u16
#define TYPE_OF_LOADER  0x210u // u8
#define LOADFLAGS       0x211u // u8
#define RAMDISK_IMAGE   0x218u // u32
#define RAMDISK_SIZE    0x21cu // u32
#define CMD_LINE_PTR    0x228u // u32
#define INITRD_ADDR_MAX 0x22cu // u32, the last byte
#define ALIGNMENT       0x230u // u32
#define RELOCATABLE     0x234u // u8
#define XLOADFLAGS      0x236u // u16
#define CMDLINE_SIZE    0x238u // u32, without the NUL
#define SETUP_DATA      0x250u // u64
#define PREF_ADDRESS    0x258u // u64
#define INIT_SIZE       0x260u // u32
#define HEADER_MIN_END  0x268u

// In the boot parameters only.
#define ACPI_RSDP_ADDR 0x070u // u64
#define E820_ENTRIES   0x1e8u // u8
#define E820_TABLE     0x2d0u // u64 start, u64 length, u32 type each

#define BOOT_FLAG_VALUE  0xaa55u
#define MAGIC_VALUE      0x53726448u // "HdrS"
#define VERSION_MIN      0x020cu     // has xloadflags
#define LOADED_HIGH      0x01u
#define XLF_KERNEL_64    0x0001u
#define LOADER_UNDEFINED 0xffu
#define E820_ENTRY_BYTES 20u
#define E820_RAM         1u
#define E820_RESERVED    2u

_Static_assert(BZIMAGE_HEADER_END - BZIMAGE_HEADER_START >= HEADER_MIN_END - SETUP_SECTS, "the header fits");

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    memcpy(p, &v, bytes);
}

static int check_identity(const uint8_t *head, size_t head_len, struct err *err)
{
    if (head_len < HEADER_MIN_END || get(head + BOOT_FLAG, 2) != BOOT_FLAG_VALUE ||
        get(head + MAGIC, 4) != MAGIC_VALUE)
        return err_set(err, -ENOEXEC, "the kernel is not a bzImage: give a distribution's vmlinuz");
    const unsigned version = (unsigned)get(head + VERSION, 2);
    if (version < VERSION_MIN)
        return err_set(err, -ENOEXEC,
                       "the kernel speaks boot protocol %u.%02u: give one of Linux 3.8 or later",
                       version >> 8, version & 0xff);
    if (!(head[LOADFLAGS] & LOADED_HIGH))
        return err_set(err, -ENOEXEC, "the kernel is a zImage: give a bzImage");
    if (!(get(head + XLOADFLAGS, 2) & XLF_KERNEL_64))
        return err_set(err, -ENOEXEC, "the kernel has no 64-bit entry: give one built for x86-64");
    if (MAGIC + head[JUMP_LENGTH] < HEADER_MIN_END)
        return err_set(err, -ENOEXEC, "the kernel's setup header is too short: copy it again");
    return 0;
}

// The protected-mode kernel follows the real-mode sectors.
static int plan_file(const uint8_t *head, uint64_t file_len, struct bzimage_plan *plan, struct err *err)
{
    const uint64_t sectors = head[SETUP_SECTS] ? head[SETUP_SECTS] : 4; // 0 means 4, for historical reasons
    plan->file_offset = (sectors + 1) * SECTOR_BYTES;
    plan->file_len = get(head + SYSSIZE, 4) * 16;
    if (plan->file_len <= ENTRY_64)
        return err_set(err, -ENOEXEC, "the kernel has nothing behind its setup header: copy it again");
    const uint64_t end = plan->file_offset + plan->file_len;
    if (end > file_len)
        return err_set(err, -ENOEXEC,
                       "the kernel is cut off: it has %llu bytes and names %llu; copy it again",
                       (unsigned long long)file_len, (unsigned long long)end);
    return 0;
}

static int plan_place(const uint8_t *head, struct bzimage_plan *plan, struct err *err)
{
    const uint64_t init_bytes = get(head + INIT_SIZE, 4);
    const uint64_t alignment = get(head + ALIGNMENT, 4);
    plan->load_gpa = get(head + PREF_ADDRESS, 8);
    const bool aligned = (plan->load_gpa & PAGE_MASK) == 0 &&
                         (!head[RELOCATABLE] || (alignment && plan->load_gpa % alignment == 0));
    if (plan->load_gpa < LINUX_HIGH_GPA || plan->load_gpa >= LINUX_LOW_END_MAX || !aligned)
        return err_set(err, -ENOEXEC, "the kernel wants to lie at 0x%llx, where no kernel can: copy it again",
                       (unsigned long long)plan->load_gpa);
    // No sum here overflows: the address is below 3 GiB and both lengths are below 64 GiB.
    plan->entry = plan->load_gpa + ENTRY_64;
    plan->end = plan->load_gpa + (init_bytes > plan->file_len ? init_bytes : plan->file_len);
    if (plan->end > plan->low_end)
        return err_set(err, -ENOMEM, "the kernel needs memory up to %llu MiB to start: give it more memory",
                       (unsigned long long)((plan->end + (1u << 20) - 1) >> 20));
    return 0;
}

// The initial RAM disk lies as high as the kernel allows, out of the way of what it unpacks.
static int plan_initrd(const uint8_t *head, uint64_t bytes, struct bzimage_plan *plan, struct err *err)
{
    if (bytes == 0)
        return 0;
    const uint64_t allowed_end = get(head + INITRD_ADDR_MAX, 4) + 1;
    const uint64_t end = allowed_end < plan->low_end ? allowed_end : plan->low_end;
    const uint64_t gpa = bytes < end ? (end - bytes) & ~PAGE_MASK : 0;
    if (gpa < plan->end)
        return err_set(
            err, -ENOMEM,
            "the initial RAM disk has %llu KiB and does not fit behind the kernel: give it more memory",
            (unsigned long long)(bytes >> 10));
    plan->initrd_gpa = gpa;
    plan->initrd_bytes = bytes;
    return 0;
}

static int plan_cmdline(const uint8_t *head, const struct bzimage_request *request, struct bzimage_plan *plan,
                        struct err *err)
{
    const uint64_t kernel_max = get(head + CMDLINE_SIZE, 4);
    const uint64_t max = kernel_max < BZIMAGE_CMDLINE_MAX ? kernel_max : BZIMAGE_CMDLINE_MAX;
    const size_t len = strlen(request->cmdline);
    if (len > max)
        return err_set(err, -E2BIG,
                       "the kernel command line has %zu bytes; this kernel takes %llu: shorten it", len,
                       (unsigned long long)max);
    plan->cmdline_gpa = (uint32_t)request->cmdline_gpa;
    plan->rsdp_gpa = request->rsdp_gpa;
    return 0;
}

static void plan_header(const uint8_t *head, struct bzimage_plan *plan)
{
    const size_t named_end = MAGIC + (size_t)head[JUMP_LENGTH];
    const size_t end = named_end < BZIMAGE_HEADER_END ? named_end : BZIMAGE_HEADER_END;
    memcpy(plan->header, head + BZIMAGE_HEADER_START, end - BZIMAGE_HEADER_START);
}

int bzimage_plan(const uint8_t *head, size_t head_len, uint64_t file_len,
                 const struct bzimage_request *request, struct bzimage_plan *ret, struct err *err)
{
    struct bzimage_plan plan = {0};
    plan.low_end = request->memory_bytes < LINUX_LOW_END_MAX ? request->memory_bytes : LINUX_LOW_END_MAX;
    plan.high_bytes = request->memory_bytes - plan.low_end;
    int rc = check_identity(head, head_len, err);
    if (rc == 0 && head_len < BZIMAGE_HEADER_END)
        rc = err_set(err, -ENOEXEC, "the kernel is cut off inside its setup header: copy it again");
    if (rc == 0)
        rc = plan_file(head, file_len, &plan, err);
    if (rc == 0)
        rc = plan_place(head, &plan, err);
    if (rc == 0)
        rc = plan_initrd(head, request->initrd_bytes, &plan, err);
    if (rc == 0)
        rc = plan_cmdline(head, request, &plan, err);
    if (rc < 0)
        return rc;
    plan_header(head, &plan);
    *ret = plan;
    return 0;
}

static void write_memory_map(const struct bzimage_plan *plan, uint8_t *params)
{
    const struct {
        uint64_t gpa, bytes;
        uint32_t type;
    } regions[] = {
        {0, LINUX_FIRMWARE_GPA, E820_RAM},
        {LINUX_FIRMWARE_GPA, LINUX_HIGH_GPA - LINUX_FIRMWARE_GPA, E820_RESERVED},
        {LINUX_HIGH_GPA, plan->low_end - LINUX_HIGH_GPA, E820_RAM},
        {LINUX_ABOVE_4G_GPA, plan->high_bytes, E820_RAM},
    };
    uint8_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        if (regions[i].bytes == 0)
            continue;
        uint8_t *entry = params + E820_TABLE + (size_t)n++ * E820_ENTRY_BYTES;
        put(entry, regions[i].gpa, 8);
        put(entry + 8, regions[i].bytes, 8);
        put(entry + 16, regions[i].type, 4);
    }
    params[E820_ENTRIES] = n;
}

void bzimage_write_params(const struct bzimage_plan *plan, uint8_t ret[BZIMAGE_PARAMS_BYTES])
{
    memset(ret, 0, BZIMAGE_PARAMS_BYTES);
    memcpy(ret + BZIMAGE_HEADER_START, plan->header, sizeof plan->header);
    ret[TYPE_OF_LOADER] = LOADER_UNDEFINED;
    put(ret + RAMDISK_IMAGE, plan->initrd_gpa, 4);
    put(ret + RAMDISK_SIZE, plan->initrd_bytes, 4);
    put(ret + CMD_LINE_PTR, plan->cmdline_gpa, 4);
    put(ret + SETUP_DATA, 0, 8); // the file's word would be followed as a pointer
    put(ret + ACPI_RSDP_ADDR, plan->rsdp_gpa, 8);
    write_memory_map(plan, ret);
}

void bzimage_bare_header(uint8_t ret[BZIMAGE_HEADER_END - BZIMAGE_HEADER_START])
{
    memset(ret, 0, BZIMAGE_HEADER_END - BZIMAGE_HEADER_START);
    put(ret + BOOT_FLAG - BZIMAGE_HEADER_START, BOOT_FLAG_VALUE, 2);
    put(ret + MAGIC - BZIMAGE_HEADER_START, MAGIC_VALUE, 4);
    put(ret + VERSION - BZIMAGE_HEADER_START, VERSION_MIN, 2);
    ret[LOADFLAGS - BZIMAGE_HEADER_START] = LOADED_HIGH;
}
