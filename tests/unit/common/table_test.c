// Tests of the hash table and the keyed hash (server/common/table.c, siphash.c).
#include "testing.h"

#include "common/siphash.h"
#include "common/table.h"

struct item {
    int key;
    struct table_node node;
};

static struct item *find(const struct table *t, uint64_t hash, int key)
{
    for (struct table_node *n = table_first(t, hash); n; n = table_next(n)) {
        struct item *item = table_entry(n, struct item, node);
        if (item->key == key)
            return item;
    }
    return NULL;
}

static void what_is_inserted_is_found_after_growing(void **state)
{
    (void)state;
    static struct item items[1000];
    struct table t;
    assert_int_equal(table_init(&t, 1), 0);
    for (int i = 0; i < 1000; i++) {
        items[i].key = i;
        table_insert(&t, &items[i].node, (uint64_t)(i % 300)); // hashes collide
    }
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(find(&t, (uint64_t)(i % 300), i), &items[i]);
    assert_true(t.n_slots >= 512);
    table_done(&t);
}

static void what_is_removed_is_not_found(void **state)
{
    (void)state;
    struct item a = {.key = 1}, b = {.key = 2};
    struct table t;
    assert_int_equal(table_init(&t, 4), 0);
    table_insert(&t, &a.node, 7);
    table_insert(&t, &b.node, 7);
    table_remove(&t, &a.node);
    assert_null(find(&t, 7, 1));
    assert_ptr_equal(find(&t, 7, 2), &b);
    assert_ptr_equal(table_any(&t), &b.node);
    table_remove(&t, &b.node);
    assert_null(table_any(&t));
    table_done(&t);
}

static void nodes_of_one_hash_come_newest_first(void **state)
{
    (void)state;
    struct item a = {.key = 1}, b = {.key = 2};
    struct table t;
    assert_int_equal(table_init(&t, 4), 0);
    table_insert(&t, &a.node, 7);
    table_insert(&t, &b.node, 7);
    assert_ptr_equal(table_first(&t, 7), &b.node);
    assert_ptr_equal(table_next(&b.node), &a.node);
    table_done(&t);
}

static void siphash_depends_on_every_byte_the_length_and_the_key(void **state)
{
    (void)state;
    const struct siphash_key key = {1, 2}, other = {1, 3};
    uint8_t data[40] = {0};
    for (size_t len = 0; len < sizeof data; len++) {
        uint64_t plain = siphash(&key, data, len);
        assert_true(plain != siphash(&other, data, len));
        assert_true(plain != siphash(&key, data, len + 1 < sizeof data ? len + 1 : 0));
        for (size_t i = 0; i < len; i++) {
            data[i] ^= 1;
            assert_true(plain != siphash(&key, data, len));
            data[i] ^= 1;
        }
    }
}

// The first vector of the SipHash-1-3 tests that CPython and Rust share: key 00..0f, empty input.
static void siphash_matches_a_published_vector(void **state)
{
    (void)state;
    const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    assert_true(siphash(&key, "", 0) == 0xabac0158050fc4dc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_inserted_is_found_after_growing),
        cmocka_unit_test(what_is_removed_is_not_found),
        cmocka_unit_test(nodes_of_one_hash_come_newest_first),
        cmocka_unit_test(siphash_depends_on_every_byte_the_length_and_the_key),
        cmocka_unit_test(siphash_matches_a_published_vector),
    };
    return cmocka_run_group_tests_name("common/table", tests, NULL, NULL);
}
