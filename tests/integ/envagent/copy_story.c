// Files copied in and out by a real envagent (agent/linux/copy.c, copy_serve.c).
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sha256.h"

#define MANY (10u << 20)

static struct host *h;
static uint8_t *content;

static int setup(void **state)
{
    (void)state;
    h = host_start();
    host_greet(h);
    content = malloc(MANY);
    assert_non_null(content);
    for (size_t i = 0; i < MANY; i++)
        content[i] = (uint8_t)(i * 2654435761u >> 11);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(content);
    host_stop(h);
    return 0;
}

// A path in the agent's folder.
static const char *at(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", h->folder, name);
    return path;
}

static struct session_copy copy_of(enum session_copy_op op, const char *path)
{
    return (struct session_copy){.op = op,
                                 .mode = SESSION_MODE_DEFAULT,
                                 .uid = SESSION_OWNER_DEFAULT,
                                 .gid = SESSION_OWNER_DEFAULT,
                                 .path = text_view(path)};
}

static int begin(const struct session_copy *c)
{
    int fd = session_open(h, AGENT_SESSION_COPY);
    session_say(fd, &(struct session_frame){.type = SESSION_COPY, .copy = *c});
    return fd;
}

static void send_data(int fd, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t piece = n - done < 60000 ? n - done : 60000;
        session_say_data(fd, SESSION_DATA, content + done, piece);
        done += piece;
    }
}

static void digest_of(size_t n, uint8_t out[SHA256_LEN])
{
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, content, n);
    sha256_end(&s, out);
}

static void send_end(int fd, size_t n)
{
    struct session_frame end = {.type = SESSION_END};
    digest_of(n, end.sha256);
    session_say(fd, &end);
}

static void put(struct session_copy *c, size_t n)
{
    uint8_t digest[SHA256_LEN];
    c->size = n;
    int fd = begin(c);
    session_expect(fd, SESSION_STARTED);
    send_data(fd, n);
    send_end(fd, n);
    digest_of(n, digest);
    assert_memory_equal(session_expect(fd, SESSION_END).sha256, digest, SHA256_LEN);
    close(fd);
}

static void assert_refused(const struct session_copy *c, enum session_error code)
{
    int fd = begin(c);
    struct session_frame f = session_expect(fd, SESSION_ERROR);
    if (f.error.code != code)
        fail_msg("%.*s", (int)f.error.text.len, (const char *)f.error.text.data);
    close(fd);
}

static void assert_folder_holds(const char *what)
{
    char line[512];
    snprintf(line, sizeof line, "cd %s && ls -A | grep -v host.sock | grep -v programs | tr '\\n' ' '",
             h->folder);
    struct outcome o = run_shell(h, line);
    assert_string_equal(o.out, what);
    outcome_free(&o);
}

static void ten_mebibytes_go_in_and_come_out_the_same(void **state)
{
    (void)state;
    uint8_t digest[SHA256_LEN];
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("big"));
    put(&c, MANY);
    c = copy_of(SESSION_COPY_GET, at("big"));
    int fd = begin(&c);
    assert_int_equal(session_expect(fd, SESSION_STAT).stat.size, MANY);
    struct session_frame f;
    size_t n = 0;
    while (session_next(fd, &f) && f.type == SESSION_DATA) {
        assert_memory_equal(f.data.data, content + n, f.data.len);
        n += f.data.len;
    }
    assert_int_equal(f.type, SESSION_END);
    digest_of(MANY, digest);
    assert_int_equal(n, MANY);
    assert_memory_equal(f.sha256, digest, SHA256_LEN);
    close(fd);
    assert_folder_holds("big ");
}

static void mode_owner_and_time_are_as_asked(void **state)
{
    (void)state;
    struct stat st;
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("f"));
    c.mode = 04751;
    c.uid = 11;
    c.gid = 12;
    c.mtime_ns = 1234567890123456789;
    put(&c, 5);
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 04751);
    assert_int_equal(st.st_uid, 11);
    assert_int_equal(st.st_gid, 12);
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    c = copy_of(SESSION_COPY_PUT, at("f")); // what is there keeps what it has
    put(&c, 6);
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 04751);
    assert_int_equal(st.st_uid, 11);
    assert_int_equal(st.st_size, 6);
    c = copy_of(SESSION_COPY_PUT, at("new"));
    put(&c, 0);
    assert_int_equal(stat(at("new"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
}

static void a_link_is_followed_not_replaced(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(symlink("real", at("link")), 0);
    int fd = open(at("real"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("link"));
    put(&c, 7);
    assert_int_equal(lstat(at("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(at("real"), &st), 0);
    assert_int_equal(st.st_size, 7);
}

static void a_copy_that_breaks_off_leaves_the_old_file_and_nothing_else(void **state)
{
    (void)state;
    struct stat st;
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("f"));
    put(&c, 5);
    c.size = MANY;
    int fd = begin(&c);
    session_expect(fd, SESSION_STARTED);
    send_data(fd, 100000);
    close(fd);
    pause_ms(300);
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_folder_holds("f ");
}

static void content_that_is_not_what_was_sent_is_refused(void **state)
{
    (void)state;
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("f"));
    c.size = 10;
    int fd = begin(&c);
    session_expect(fd, SESSION_STARTED);
    send_data(fd, 10);
    session_say(fd, &(struct session_frame){.type = SESSION_END, .sha256 = {1}});
    assert_int_equal(session_expect(fd, SESSION_ERROR).error.code, SESSION_ERROR_INTEGRITY);
    close(fd);
    fd = begin(&c);
    session_expect(fd, SESSION_STARTED);
    send_data(fd, 11);
    assert_int_equal(session_expect(fd, SESSION_ERROR).error.code, SESSION_ERROR_INTEGRITY);
    close(fd);
    fd = begin(&c);
    session_expect(fd, SESSION_STARTED);
    send_data(fd, 9);
    send_end(fd, 9);
    assert_int_equal(session_expect(fd, SESSION_ERROR).error.code, SESSION_ERROR_INTEGRITY);
    close(fd);
    assert_folder_holds("");
}

// The mount is the agent's own: it is made by a command of its.
static void a_full_disk_is_said_and_leaves_nothing(void **state)
{
    (void)state;
    char line[256];
    mkdir(at("small"), 0755);
    // Commands share the agent's mounts.
    snprintf(line, sizeof line, "mount -t tmpfs -o size=1m tmpfs %s", at("small"));
    struct outcome o = run_shell(h, line);
    assert_int_equal(o.value, 0);
    outcome_free(&o);
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("small/f"));
    c.size = MANY;
    assert_refused(&c, SESSION_ERROR_NO_SPACE);
    snprintf(line, sizeof line, "ls -A %s; umount %s", at("small"), at("small"));
    o = run_shell(h, line);
    assert_string_equal(o.out, "");
    outcome_free(&o);
}

static void each_impossible_copy_has_its_own_error(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("folder"), 0755), 0);
    assert_int_equal(mkfifo(at("pipe"), 0644), 0);
    struct session_copy c = copy_of(SESSION_COPY_GET, at("none"));
    assert_refused(&c, SESSION_ERROR_NOT_FOUND);
    c = copy_of(SESSION_COPY_GET, at("folder"));
    assert_refused(&c, SESSION_ERROR_IS_FOLDER);
    c = copy_of(SESSION_COPY_GET, at("pipe"));
    assert_refused(&c, SESSION_ERROR_NOT_FILE);
    c = copy_of(SESSION_COPY_PUT, at("pipe"));
    assert_refused(&c, SESSION_ERROR_NOT_FILE);
    c = copy_of(SESSION_COPY_PUT, at("folder/"));
    assert_refused(&c, SESSION_ERROR_IS_FOLDER);
    c = copy_of(SESSION_COPY_PUT, at("none/f"));
    assert_refused(&c, SESSION_ERROR_NOT_FOUND);
    c = copy_of(SESSION_COPY_PUT, at("pipe/f"));
    assert_refused(&c, SESSION_ERROR_NOT_FOLDER);
    c = copy_of(SESSION_COPY_MKDIR, at("pipe"));
    assert_refused(&c, SESSION_ERROR_EXISTS);
    c = copy_of(SESSION_COPY_LIST, at("none"));
    assert_refused(&c, SESSION_ERROR_NOT_FOUND);
    c = copy_of(SESSION_COPY_SYMLINK, at("folder"));
    c.target = text_view("x");
    assert_refused(&c, SESSION_ERROR_EXISTS);
}

static void folders_and_links_are_made_and_listed(void **state)
{
    (void)state;
    struct session_copy c = copy_of(SESSION_COPY_MKDIR, at("d"));
    c.mode = 0750;
    for (int i = 0; i < 2; i++) { // again is fine
        int fd = begin(&c);
        session_expect(fd, SESSION_END);
        close(fd);
    }
    c = copy_of(SESSION_COPY_SYMLINK, at("d/l"));
    for (int i = 0; i < 2; i++) { // a link is replaced
        c.target = text_view(i ? "../b" : "../a");
        int fd = begin(&c);
        session_expect(fd, SESSION_END);
        close(fd);
    }
    c = copy_of(SESSION_COPY_PUT, at("d/f\xff"));
    put(&c, 9);
    c = copy_of(SESSION_COPY_LIST, at("d"));
    int fd = begin(&c), n = 0;
    struct session_frame f;
    while (session_next(fd, &f) && f.type == SESSION_STAT) {
        n++;
        if (f.stat.type == SESSION_FILE_SYMLINK)
            assert_true(wire_view_equals(f.stat.name, "l") && wire_view_equals(f.stat.target, "../b"));
        else
            assert_true(wire_view_equals(f.stat.name, "f\xff") && f.stat.size == 9);
    }
    assert_int_equal(f.type, SESSION_END);
    assert_int_equal(n, 2);
    close(fd);
}

static void a_path_itself_is_looked_at(void **state)
{
    (void)state;
    assert_int_equal(symlink("nowhere", at("l")), 0);
    struct session_copy c = copy_of(SESSION_COPY_STAT, at("l"));
    int fd = begin(&c);
    struct session_frame f = session_expect(fd, SESSION_STAT);
    assert_int_equal(f.stat.type, SESSION_FILE_SYMLINK);
    assert_true(wire_view_equals(f.stat.target, "nowhere"));
    close(fd);
    c = copy_of(SESSION_COPY_STAT, "/");
    fd = begin(&c);
    f = session_expect(fd, SESSION_STAT);
    assert_int_equal(f.stat.type, SESSION_FILE_FOLDER);
    assert_int_equal(f.stat.name.len, 0);
    close(fd);
}

static void a_file_without_a_size_comes_whole(void **state)
{
    (void)state;
    struct session_copy c = copy_of(SESSION_COPY_GET, "proc/self/status"); // relative to /
    int fd = begin(&c);
    assert_int_equal(session_expect(fd, SESSION_STAT).stat.size, 0);
    assert_true(session_expect(fd, SESSION_DATA).data.len > 100);
    session_expect(fd, SESSION_END);
    close(fd);
}

static void copies_do_not_hold_up_the_link(void **state)
{
    (void)state;
    struct session_copy c = copy_of(SESSION_COPY_PUT, at("f"));
    c.size = MANY;
    int fd = begin(&c);
    session_expect(fd, SESSION_STARTED); // and then we send nothing
    host_say(h, &(struct agent_frame){.type = AGENT_PING, .tag = 77});
    assert_int_equal(host_expect(h, AGENT_PONG).tag, 77);
    close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(ten_mebibytes_go_in_and_come_out_the_same),
        T(mode_owner_and_time_are_as_asked),
        T(a_link_is_followed_not_replaced),
        T(a_copy_that_breaks_off_leaves_the_old_file_and_nothing_else),
        T(content_that_is_not_what_was_sent_is_refused),
        T(a_full_disk_is_said_and_leaves_nothing),
        T(each_impossible_copy_has_its_own_error),
        T(folders_and_links_are_made_and_listed),
        T(a_path_itself_is_looked_at),
        T(a_file_without_a_size_comes_whole),
        T(copies_do_not_hold_up_the_link),
    };
    signal(SIGPIPE, SIG_IGN);
    int rc = harness_enter();
    return rc ? rc : cmocka_run_group_tests_name("envagent/copy", tests, NULL, NULL);
}
