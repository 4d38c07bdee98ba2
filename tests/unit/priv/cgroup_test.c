// Tests of finding and filling control groups (server/priv/cgroup.c), on a folder tree that looks like a
// hierarchy.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"

static const char hybrid[] = "22 1 0:20 / / rw,relatime - ext4 /dev/vda rw\n"
                             "31 23 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
                             "32 23 0:28 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
                             "33 23 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                             "34 23 0:30 / /sys/fs/cgroup/both rw,relatime - cgroup cgroup rw,blkio,pids\n"
                             "39 23 0:35 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
                             "a line that is none\n"
                             "40 23 0:36 / - cgroup";

static void version_1_controllers_are_found_by_whole_word(void **state)
{
    (void)state;
    char point[64];
    assert_true(cgroup_find_mount(hybrid, "cpu", point, sizeof point));
    assert_string_equal(point, "/sys/fs/cgroup/cpu");
    assert_true(cgroup_find_mount(hybrid, "cpuacct", point, sizeof point));
    assert_string_equal(point, "/sys/fs/cgroup/cpuacct");
    assert_true(cgroup_find_mount(hybrid, "pids", point, sizeof point));
    assert_string_equal(point, "/sys/fs/cgroup/both");
    assert_false(cgroup_find_mount(hybrid, "cpuset", point, sizeof point));
    assert_false(cgroup_find_mount(hybrid, "acct", point, sizeof point));
}

static void version_2_is_found_by_its_type(void **state)
{
    (void)state;
    char point[64];
    assert_true(cgroup_find_mount(hybrid, NULL, point, sizeof point));
    assert_string_equal(point, "/sys/fs/cgroup/unified");
    assert_false(cgroup_find_mount("", NULL, point, sizeof point));
}

static void a_mount_point_that_does_not_fit_is_not_cut(void **state)
{
    (void)state;
    char point[8];
    assert_false(cgroup_find_mount(hybrid, "cpu", point, sizeof point));
}

static void weights_become_shares_within_the_kernels_bounds(void **state)
{
    (void)state;
    assert_int_equal(cgroup_shares_of_weight(100), 1024);
    assert_int_equal(cgroup_shares_of_weight(1), 10);
    assert_int_equal(cgroup_shares_of_weight(10000), 102400);
    assert_int_equal(cgroup_shares_of_weight(0), 2);
}

struct tree {
    char root[64];
    char mountinfo[256];
};

// A version 2 root with the given controllers. Its control files are plain files here, made before they are
// needed, for a plain folder brings none by itself.
static void make_tree(struct tree *t, const char *controllers)
{
    strcpy(t->root, "/tmp/envpriv-cgroup-XXXXXX");
    assert_non_null(mkdtemp(t->root));
    snprintf(t->mountinfo, sizeof t->mountinfo, "1 1 0:1 / %s rw - cgroup2 none rw\n", t->root);
    char path[128];
    snprintf(path, sizeof path, "%s/cgroup.controllers", t->root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(controllers, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/cgroup.subtree_control", t->root);
    fclose(fopen(path, "w"));
    snprintf(path, sizeof path, "%s/envd-ab12", t->root);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/envd-ab12/cgroup.subtree_control", t->root);
    fclose(fopen(path, "w"));
}

static void remove_tree(const struct tree *t)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", t->root);
    assert_int_equal(system(command), 0);
}

static const struct instance instance = {"ab12"};

static void without_our_controllers_there_are_no_groups(void **state)
{
    (void)state;
    struct tree t;
    make_tree(&t, "hugetlb cpuset memory\n");
    struct cgroups cg;
    struct err err = {""};
    assert_int_equal(cgroups_open(&cg, t.mountinfo, &instance, &err), 0);
    assert_int_equal(cg.version, CGROUP_NONE);
    assert_non_null(strstr(err.text, "cpu, memory and pids"));
    struct cgroup_entry entry;
    assert_int_equal(cgroup_make(&cg, "x", &(struct cgroup_limits){1, 1, 0, 1}, &entry, &err), 0);
    assert_int_equal(entry.n, 0);
    cgroups_close(&cg);
    remove_tree(&t);
}

static void version_2_controllers_are_handed_down(void **state)
{
    (void)state;
    struct tree t;
    make_tree(&t, "cpuset cpu io memory hugetlb pids\n");
    struct cgroups cg;
    struct err err;
    assert_int_equal(cgroups_open(&cg, t.mountinfo, &instance, &err), 0);
    assert_int_equal(cg.version, CGROUP_V2);
    static const char *const files[] = {"cgroup.subtree_control", "envd-ab12/cgroup.subtree_control"};
    for (size_t i = 0; i < 2; i++) {
        char path[128], text[64] = "";
        snprintf(path, sizeof path, "%s/%s", t.root, files[i]);
        FILE *f = fopen(path, "r");
        assert_non_null(fgets(text, sizeof text, f));
        fclose(f);
        assert_string_equal(text, "+cpu +memory +pids");
    }
    cgroups_close(&cg);
    remove_tree(&t);
}

static void an_instance_in_use_is_refused(void **state)
{
    (void)state;
    struct tree t;
    make_tree(&t, "cpu memory pids\n");
    struct cgroups first, second;
    struct err err;
    assert_int_equal(cgroups_open(&first, t.mountinfo, &instance, &err), 0);
    assert_int_equal(cgroups_open(&second, t.mountinfo, &instance, &err), -EBUSY);
    assert_non_null(strstr(err.text, "--instance"));
    cgroups_close(&first);
    assert_int_equal(cgroups_open(&second, t.mountinfo, &instance, &err), 0);
    cgroups_close(&second);
    remove_tree(&t);
}

static void a_group_whose_limits_cannot_be_set_is_not_made(void **state)
{
    (void)state;
    struct tree t;
    make_tree(&t, "cpu memory pids\n"); // a plain folder: there will be no cpu.weight to write to
    struct cgroups cg;
    struct err err;
    assert_int_equal(cgroups_open(&cg, t.mountinfo, &instance, &err), 0);
    struct cgroup_entry entry;
    assert_int_equal(cgroup_make(&cg, "some-vm", &(struct cgroup_limits){1 << 20, 100, 0, 10}, &entry, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "set cpu.weight to 100"));
    char path[128];
    snprintf(path, sizeof path, "%s/envd-ab12/some-vm", t.root);
    assert_int_equal(access(path, F_OK), -1);
    cgroups_close(&cg);
    remove_tree(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_controllers_are_found_by_whole_word),
        cmocka_unit_test(version_2_is_found_by_its_type),
        cmocka_unit_test(a_mount_point_that_does_not_fit_is_not_cut),
        cmocka_unit_test(weights_become_shares_within_the_kernels_bounds),
        cmocka_unit_test(without_our_controllers_there_are_no_groups),
        cmocka_unit_test(version_2_controllers_are_handed_down),
        cmocka_unit_test(an_instance_in_use_is_refused),
        cmocka_unit_test(a_group_whose_limits_cannot_be_set_is_not_made),
    };
    return cmocka_run_group_tests_name("priv/cgroup", tests, NULL, NULL);
}
