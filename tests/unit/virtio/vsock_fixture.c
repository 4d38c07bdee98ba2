// Owns the vsock tests' guest and host: see vsock_fixture.h.
#include "testing.h"

#include "vsock_fixture.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 5000

struct driver driver;
struct virtio_vsock *vsock;
uint32_t guest_buf_alloc, guest_fwd_cnt;
int accept_rc;
unsigned n_accepted;
int accepted[ACCEPTED_MAX];
uint32_t accepted_port[ACCEPTED_MAX];
static uint64_t tx_gpa;

static int on_accept(void *arg, uint32_t guest_port, uint32_t host_port, int fd)
{
    (void)arg;
    unsigned n = n_accepted;
    if (accept_rc < 0 || host_port != HOST_PORT) {
        close(fd);
        return accept_rc;
    }
    accepted[n] = fd;
    accepted_port[n] = guest_port;
    __atomic_store_n(&n_accepted, n + 1, __ATOMIC_RELEASE);
    return 0;
}

static void push_rx(uint64_t gpa)
{
    driver_push_in(&driver, RX, gpa, RX_BYTES);
}

void post_rx_buffers(void)
{
    for (unsigned i = 0; i < RX_BUFFERS; i++)
        push_rx(driver_alloc(&driver, RX_BYTES));
    driver_kick(&driver, RX);
}

int vsock_setup_starved(void **state)
{
    (void)state;
    struct err err;
    struct virtio_vsock_options options = {.guest_cid = GUEST_CID, .port = HOST_PORT, .accept = on_accept};
    n_accepted = 0;
    accept_rc = 0;
    guest_buf_alloc = 1u << 20;
    guest_fwd_cnt = 0;
    driver_init(&driver);
    if (virtio_vsock_new(&vsock, &driver.machine, &options, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_vsock_device(vsock));
    driver_preset(&driver, FEATURES);
    tx_gpa = driver_alloc(&driver, VSOCK_HEADER_BYTES + VSOCK_PAYLOAD_MAX + 1);
    driver_run_loop(&driver);
    return 0;
}

int vsock_setup(void **state)
{
    if (vsock_setup_starved(state) < 0)
        return -1;
    post_rx_buffers();
    return 0;
}

int vsock_teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_vsock_free(vsock);
    driver_done(&driver);
    for (unsigned i = 0; i < n_accepted; i++)
        if (accepted[i] >= 0)
            close(accepted[i]);
    return 0;
}

struct vsock_packet guest_packet(uint16_t op)
{
    return (struct vsock_packet){.src_cid = GUEST_CID,
                                 .dst_cid = VSOCK_HOST_CID,
                                 .src_port = GUEST_PORT,
                                 .dst_port = HOST_PORT,
                                 .type = VIRTIO_VSOCK_TYPE_STREAM,
                                 .op = op,
                                 .buf_alloc = guest_buf_alloc,
                                 .fwd_cnt = guest_fwd_cnt};
}

// One packet at a time, from one buffer: header and payload in descriptors of their own.
void guest_sends_packet(const struct vsock_packet *p, const void *data, uint32_t payload_bytes)
{
    uint16_t head;
    uint32_t len;
    uint8_t *bytes = driver_at(&driver, tx_gpa, VSOCK_HEADER_BYTES + VSOCK_PAYLOAD_MAX);
    vsock_header_write(bytes, p);
    if (payload_bytes > 0)
        memcpy(bytes + VSOCK_HEADER_BYTES, data, payload_bytes);
    const struct driver_buffer b[] = {{tx_gpa, VSOCK_HEADER_BYTES, false},
                                      {tx_gpa + VSOCK_HEADER_BYTES, payload_bytes, false}};
    driver_push(&driver, TX, b, payload_bytes > 0 ? 2 : 1);
    driver_kick(&driver, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(len, 0);
}

void guest_sends(uint16_t op)
{
    guest_sends_flags(op, 0);
}

void guest_sends_flags(uint16_t op, uint32_t flags)
{
    struct vsock_packet p = guest_packet(op);
    p.flags = flags;
    guest_sends_packet(&p, NULL, 0);
}

void guest_sends_data(const void *data, uint32_t len)
{
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RW);
    p.len = len;
    guest_sends_packet(&p, data, len);
}

static struct vsock_packet take_packet(uint16_t head, uint32_t len, void *data)
{
    struct vsock_packet p;
    const struct {
        uint64_t gpa;
        uint32_t len;
    } *desc = driver_at(&driver, DRIVER_QUEUE_GPA(RX) + 16ull * head, 16);
    uint64_t gpa = desc->gpa;
    const uint8_t *bytes = driver_at(&driver, gpa, RX_BYTES);
    assert_in_range(len, VSOCK_HEADER_BYTES, RX_BYTES);
    vsock_header_read(bytes, &p);
    assert_int_equal(len, VSOCK_HEADER_BYTES + p.len);
    if (data)
        memcpy(data, bytes + VSOCK_HEADER_BYTES, p.len);
    push_rx(gpa);
    driver_kick(&driver, RX);
    return p;
}

struct vsock_packet guest_gets(void *data)
{
    uint16_t head;
    uint32_t len;
    assert_true(driver_wait_used(&driver, RX, &head, &len));
    return take_packet(head, len, data);
}

bool guest_gets_now(struct vsock_packet *ret)
{
    uint16_t head;
    uint32_t len;
    if (!driver_used(&driver, RX, &head, &len))
        return false;
    *ret = take_packet(head, len, NULL);
    return true;
}

struct vsock_packet guest_gets_op(uint16_t op)
{
    struct vsock_packet p = guest_gets(NULL);
    assert_int_equal(p.op, op);
    assert_int_equal(p.src_cid, VSOCK_HOST_CID);
    assert_int_equal(p.dst_cid, GUEST_CID);
    assert_int_equal(p.src_port, HOST_PORT);
    assert_int_equal(p.type, VIRTIO_VSOCK_TYPE_STREAM);
    return p;
}

bool guest_gets_nothing(void)
{
    uint16_t head;
    uint32_t len;
    usleep(20000);
    return !driver_used(&driver, RX, &head, &len);
}

uint32_t given_buf_alloc;

int guest_connects(void)
{
    return guest_connects_from(GUEST_PORT);
}

int guest_connects_from(uint32_t guest_port)
{
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_REQUEST);
    p.src_port = guest_port;
    guest_sends_packet(&p, NULL, 0);
    p = guest_gets_op(VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(p.dst_port, guest_port);
    given_buf_alloc = p.buf_alloc;
    unsigned n = __atomic_load_n(&n_accepted, __ATOMIC_ACQUIRE);
    assert_true(n > 0);
    assert_int_equal(accepted_port[n - 1], guest_port);
    return accepted[n - 1];
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

void host_gets(int fd, void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        wait_for(fd, POLLIN);
        ssize_t n = read(fd, (char *)data + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

void host_gets_end(int fd)
{
    char c;
    wait_for(fd, POLLIN);
    assert_int_equal(read(fd, &c, 1), 0);
}

void host_sends(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        wait_for(fd, POLLOUT);
        ssize_t n = write(fd, (const char *)data + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}
