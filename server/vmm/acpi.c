// Owns the bytes of the ACPI tables. Called by whoever loads a Linux guest.
//
//   0x000 RSDP   0x040 XSDT   0x080 FADT   0x200 MADT   0x400 DSDT
#include "acpi.h"

#include <errno.h>
#include <string.h>

#define RSDP 0x000u
#define XSDT 0x040u
#define FADT 0x080u
#define MADT 0x200u
#define DSDT 0x400u

#define HEADER_BYTES 36u
#define RSDP_BYTES   36u
#define FADT_BYTES   276u
#define XSDT_BYTES   (HEADER_BYTES + 2 * 8)
#define MADT_MAX     (HEADER_BYTES + 8 + ACPI_CPUS_MAX * 8 + 12)

#define FADT_NO_BUTTONS (3u << 4) // no fixed power and sleep buttons
#define FADT_RESET      (1u << 10)
#define FADT_REDUCED    (1u << 20)
#define FADT_NO_VGA_RTC (1u << 2 | 1u << 5)
#define GAS_IO          1u

#define LOCAL_APIC_GPA 0xfee00000u
#define IO_APIC_GPA    0xfec00000u

#define AML_NAME       0x08u
#define AML_BYTE       0x0au
#define AML_DWORD      0x0cu
#define AML_STRING     0x0du
#define AML_SCOPE      0x10u
#define AML_BUFFER     0x11u
#define AML_PACKAGE    0x12u
#define AML_EXT        0x5bu
#define AML_ROOT       0x5cu
#define AML_DEVICE     0x82u  // after AML_EXT
#define AML_PKG_MAX    0xfffu // of the two-byte length used here
#define AML_DEVICE_MAX 80u    // bytes that one device takes at most
#define EISA_PNP0501   0x0105d041u
#define INTERRUPT_EDGE 0x03u // consumer, edge-triggered, active high, not shared
#define RESOURCE_END   0x79u

_Static_assert(XSDT + XSDT_BYTES <= FADT && FADT + FADT_BYTES <= MADT && MADT + MADT_MAX <= DSDT,
               "tables fit");
_Static_assert((ACPI_DEVICES_MAX + 1) * AML_DEVICE_MAX <= AML_PKG_MAX - 16, "the scope's length fits");
_Static_assert(DSDT + HEADER_BYTES + AML_PKG_MAX + 32 <= ACPI_BYTES, "the DSDT fits");

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    memcpy(p, &v, bytes);
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)(0u - sum);
}

// Last, over a table that is complete but for its header.
static void seal(uint8_t *table, const char signature[4], uint8_t revision, size_t len)
{
    memcpy(table, signature, 4);
    put(table + 4, len, 4);
    table[8] = revision;
    memcpy(table + 10, "ENVD  ENVDVM  ", 14); // OEM and table
    put(table + 24, 1, 4);
    memcpy(table + 28, "ENVD", 4);
    put(table + 32, 1, 4);
    table[9] = 0;
    table[9] = checksum(table, len);
}

static void build_rsdp(uint8_t *p, uint32_t gpa)
{
    static const char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
    static const char oem[6] = {'E', 'N', 'V', 'D', ' ', ' '};
    memcpy(p, signature, sizeof signature);
    memcpy(p + 9, oem, sizeof oem);
    p[15] = 2;
    put(p + 20, RSDP_BYTES, 4);
    put(p + 24, gpa + XSDT, 8);
    p[8] = checksum(p, 20);
    p[32] = checksum(p, RSDP_BYTES);
}

static void build_xsdt(uint8_t *p, uint32_t gpa)
{
    put(p + HEADER_BYTES, gpa + FADT, 8);
    put(p + HEADER_BYTES + 8, gpa + MADT, 8);
    seal(p, "XSDT", 1, XSDT_BYTES);
}

// Generic address structure: an 8-bit I/O port.
static void put_port(uint8_t *p, uint16_t port)
{
    p[0] = GAS_IO;
    p[1] = 8;
    p[3] = 1; // byte access
    put(p + 4, port, 8);
}

static void build_fadt(uint8_t *p, const struct acpi_machine *m)
{
    put(p + 40, m->gpa + DSDT, 4);
    put(p + 109, FADT_NO_VGA_RTC, 2);
    put(p + 112, FADT_NO_BUTTONS | FADT_RESET | FADT_REDUCED, 4);
    put_port(p + 116, m->reset_port);
    p[128] = m->reset_value;
    p[131] = 3; // 6.3
    put(p + 140, m->gpa + DSDT, 8);
    put_port(p + 244, m->sleep_control_port);
    put_port(p + 256, m->sleep_status_port);
    seal(p, "FACP", 6, FADT_BYTES);
}

static void build_madt(uint8_t *table, uint8_t n_cpus)
{
    put(table + HEADER_BYTES, LOCAL_APIC_GPA, 4);
    uint8_t *p = table + HEADER_BYTES + 8;
    for (uint8_t cpu = 0; cpu < n_cpus; cpu++, p += 8) {
        p[0] = 0; // local APIC
        p[1] = 8;
        p[2] = p[3] = cpu;
        put(p + 4, 1, 4); // enabled
    }
    p[0] = 1; // I/O APIC; its inputs are the GSIs from 0 on
    p[1] = 12;
    put(p + 4, IO_APIC_GPA, 4);
    seal(table, "APIC", 5, (size_t)(p + 12 - table));
}

// ---- AML: each function appends at p and returns the new end ----

static uint8_t *aml_bytes(uint8_t *p, const void *data, size_t len)
{
    memcpy(p, data, len);
    return p + len;
}

static uint8_t *aml_name(uint8_t *p, const char name[4])
{
    *p++ = AML_NAME;
    return aml_bytes(p, name, 4);
}

// The length counts itself, in two bytes: four bits in the first, eight in the second.
static void aml_close(uint8_t *length, const uint8_t *end)
{
    const size_t n = (size_t)(end - length);
    length[0] = (uint8_t)(0x40u | (n & 0xf));
    length[1] = (uint8_t)(n >> 4);
}

static uint8_t *aml_resources(uint8_t *p, const uint8_t *data, uint8_t len)
{
    p = aml_name(p, "_CRS");
    *p++ = AML_BUFFER;
    uint8_t *length = p;
    p += 2;
    *p++ = AML_BYTE;
    *p++ = len;
    p = aml_bytes(p, data, len);
    aml_close(length, p);
    return p;
}

static uint8_t *resource_interrupt_end(uint8_t *p, uint32_t gsi)
{
    static const uint8_t head[] = {0x89, 6, 0, INTERRUPT_EDGE, 1};
    p = aml_bytes(p, head, sizeof head);
    p = aml_bytes(p, &gsi, 4);
    *p++ = RESOURCE_END;
    *p++ = 0; // no checksum
    return p;
}

static uint8_t *aml_uid(uint8_t *p, uint8_t uid)
{
    p = aml_name(p, "_UID");
    *p++ = AML_BYTE;
    *p++ = uid;
    return p;
}

static uint8_t *aml_device(uint8_t *p, const char name[4], uint8_t **ret_length)
{
    *p++ = AML_EXT;
    *p++ = AML_DEVICE;
    *ret_length = p;
    return aml_bytes(p + 2, name, 4);
}

static uint8_t *aml_serial(uint8_t *p, const struct acpi_machine *m)
{
    uint8_t *length = NULL;
    uint8_t resources[32] = {0x47, 1}; // I/O ports, 16-bit decode
    uint8_t *r = aml_bytes(resources + 2, &m->serial_port, 2);
    r = aml_bytes(r, &m->serial_port, 2);
    *r++ = 1; // alignment
    *r++ = 8;
    r = resource_interrupt_end(r, m->serial_gsi);
    p = aml_device(p, "COM1", &length);
    p = aml_name(p, "_HID");
    *p++ = AML_DWORD;
    const uint32_t hid = EISA_PNP0501;
    p = aml_bytes(p, &hid, 4);
    p = aml_uid(p, 1);
    p = aml_resources(p, resources, (uint8_t)(r - resources));
    aml_close(length, p);
    return p;
}

static uint8_t *aml_virtio(uint8_t *p, const struct acpi_device *d, uint8_t index)
{
    static const char hex[] = "0123456789ABCDEF";
    const char name[4] = {'V', 'R', hex[index >> 4], hex[index & 0xf]};
    uint8_t *length = NULL;
    uint8_t resources[32] = {0x86, 9, 0, 1}; // 32-bit fixed memory, writable
    uint8_t *r = aml_bytes(resources + 4, &d->gpa, 4);
    r = aml_bytes(r, &d->bytes, 4);
    r = resource_interrupt_end(r, d->gsi);
    p = aml_device(p, name, &length);
    p = aml_name(p, "_HID");
    *p++ = AML_STRING;
    p = aml_bytes(p, "LNRO0005", 9);
    p = aml_uid(p, index);
    p = aml_resources(p, resources, (uint8_t)(r - resources));
    aml_close(length, p);
    return p;
}

static void build_dsdt(uint8_t *table, const struct acpi_machine *m)
{
    uint8_t *p = aml_name(table + HEADER_BYTES, "_S5_");
    *p++ = AML_PACKAGE;
    uint8_t *length = p;
    static const uint8_t s5[] = {1, AML_BYTE, 5}; // one element
    p = aml_bytes(p + 2, s5, sizeof s5);
    aml_close(length, p);
    *p++ = AML_SCOPE;
    length = p;
    p += 2;
    *p++ = AML_ROOT;
    p = aml_bytes(p, "_SB_", 4);
    p = aml_serial(p, m);
    for (size_t i = 0; i < m->n_devices; i++)
        p = aml_virtio(p, &m->devices[i], (uint8_t)i);
    aml_close(length, p);
    seal(table, "DSDT", 2, (size_t)(p - table));
}

int acpi_build(const struct acpi_machine *machine, uint8_t ret[ACPI_BYTES], struct err *err)
{
    if (machine->n_cpus == 0 || machine->n_cpus > ACPI_CPUS_MAX)
        return err_set(err, -EINVAL, "%u vCPUs; 1 to %u are accepted", machine->n_cpus, ACPI_CPUS_MAX);
    if (machine->n_devices > ACPI_DEVICES_MAX)
        return err_set(err, -EINVAL, "%zu devices; up to %u are accepted", machine->n_devices,
                       ACPI_DEVICES_MAX);
    if (machine->gpa % 16 != 0)
        return err_set(err, -EINVAL, "ACPI tables at 0x%x: not aligned to 16 bytes", machine->gpa);
    memset(ret, 0, ACPI_BYTES);
    build_rsdp(ret + RSDP, machine->gpa);
    build_xsdt(ret + XSDT, machine->gpa);
    build_fadt(ret + FADT, machine);
    build_madt(ret + MADT, machine->n_cpus);
    build_dsdt(ret + DSDT, machine);
    return 0;
}
