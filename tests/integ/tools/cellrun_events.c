// What cellrun makes of what envvm says: states, streams, figures, the log.
#include "cellrun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/logring.h"

void show_log(struct run *r)
{
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    if (pread(r->log, raw, sizeof raw, 0) != sizeof raw || logring_header_read(raw, &ring))
        return;
    if (r->shown < logring_oldest(&ring))
        r->shown = logring_oldest(&ring);
    struct logring_span spans[2];
    size_t n = logring_spans(&ring, r->shown, (size_t)(ring.total - r->shown), spans);
    for (size_t i = 0; i < n; i++) {
        uint8_t data[65536];
        for (size_t done = 0; done < spans[i].len;) {
            size_t want = spans[i].len - done < sizeof data ? spans[i].len - done : sizeof data;
            ssize_t got = pread(r->log, data, want, (off_t)(spans[i].file_offset + done));
            if (got <= 0 || io_write_all(STDOUT_FILENO, data, (size_t)got) < 0)
                return;
            done += (size_t)got;
        }
    }
    if (r->verbose && r->shown == 0 && ring.total > 0)
        fprintf(stderr, "cellrun: first output after %.3f ms\n",
                (double)(io_monotonic_ns() - r->started_ns) / 1e6);
    r->shown = ring.total;
}

static int handle_state(struct run *r, const struct vmctl_message *m)
{
    if (r->verbose || m->state.state == VMCTL_FAILED)
        fprintf(stderr, "cellrun: %s%s%s code %d%s%.*s (%.3f ms)\n", vmctl_state_name(m->state.state),
                m->state.cause ? " " : "", m->state.cause ? vmctl_cause_name(m->state.cause) : "",
                m->state.code, m->state.reason.len ? ": " : "", (int)m->state.reason.len,
                (const char *)m->state.reason.data, (double)(io_monotonic_ns() - r->started_ns) / 1e6);
    if (m->state.state == VMCTL_EXITED)
        return m->state.code;
    return m->state.state == VMCTL_FAILED ? 126 : -1;
}

static void handle_stream(struct run *r, const struct vmctl_message *m, int fd)
{
    if (r->verbose)
        fprintf(stderr, "cellrun: stream, guest port %u, host port %u\n", m->stream.guest_port,
                m->stream.host_port);
    if (r->agent) {
        fcntl(fd, F_SETFL, 0); // blocking
        spawn_with_fd(r->agent, r->agent, fd, STDIN_FILENO);
    }
    if (r->echo && r->n_streams < STREAMS_MAX)
        r->streams[r->n_streams++] = fd;
    else
        close(fd);
}

static void show_stats(const struct vmctl_stats *s)
{
    fprintf(
        stderr,
        "cellrun: stats cpu_ns=%llu rss=%llu memory=%llu balloon=%llu rx=%llu tx=%llu reads=%llu writes=%llu "
        "read_bytes=%llu write_bytes=%llu flushes=%llu\n",
        (unsigned long long)s->cpu_ns, (unsigned long long)s->rss_bytes,
        (unsigned long long)s->guest_memory_bytes, (unsigned long long)s->balloon_bytes,
        (unsigned long long)s->net_rx_packets, (unsigned long long)s->net_tx_packets,
        (unsigned long long)s->disk_reads, (unsigned long long)s->disk_writes,
        (unsigned long long)s->disk_read_bytes, (unsigned long long)s->disk_write_bytes,
        (unsigned long long)s->disk_flushes);
}

int handle_control(struct run *r)
{
    uint8_t data[2048];
    int fds[1];
    size_t n_fds = 1;
    ssize_t n = io_recv_fds(r->control, data, sizeof data, fds, &n_fds);
    if (n <= 0) {
        fprintf(stderr, "cellrun: envvm went away without a word\n");
        return 127;
    }
    struct vmctl_message m;
    struct wire_error wrong;
    if (!vmctl_read(data, (size_t)n, &m, &wrong)) {
        fprintf(stderr, "cellrun: envvm sent garbage: %s\n", wrong.what);
        return 127;
    }
    if (m.type == VMCTL_STREAM && n_fds == 1)
        handle_stream(r, &m, fds[0]);
    if (m.type == VMCTL_LOG)
        show_log(r);
    if (m.type == VMCTL_STATS_IS)
        show_stats(&m.stats);
    if (m.type == VMCTL_CONSOLE)
        fprintf(stderr, "cellrun: console%s\n", n_fds == 1 ? "" : " refused");
    if (m.type == VMCTL_CONSOLE && n_fds == 1)
        close(fds[0]);
    return m.type == VMCTL_STATE ? handle_state(r, &m) : -1;
}

void echo(struct run *r, size_t i)
{
    char data[65536];
    ssize_t n = recv(r->streams[i], data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    // The copy may wait for the guest to read: this is a test tool, a guest that does not read harms itself
    // only.
    fcntl(r->streams[i], F_SETFL, 0);
    if (n > 0 && io_write_all(r->streams[i], data, (size_t)n) == 0)
        return;
    close(r->streams[i]);
    r->streams[i] = r->streams[--r->n_streams];
}
