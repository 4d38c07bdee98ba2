// One AMQP message of one's choice, to show what hosts believe: any user-id, message-id and headers.
//
//     amqp_say HOST PORT USER PASSWORD EXCHANGE KEY [user-id=U] [message-id=M] [type=T] [HEADER=VALUE]...
//     <body
//
// Ends with 0 when the broker has confirmed it, with 1 and the broker's words when it refused.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <amqp.h>
#include <amqp_tcp_socket.h>

#define BODY_MAX    (32u << 20)
#define HEADERS_MAX 64

static void refuse(const char *what, const amqp_rpc_reply_t *r)
{
    const char *words = "nothing";
    int len = 7;
    if (r->reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
        words = amqp_error_string2(r->library_error);
        len = (int)strlen(words);
    } else if (r->reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && r->reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *close = r->reply.decoded;
        words = close->reply_text.bytes;
        len = (int)close->reply_text.len;
    }
    printf("%s: %.*s\n", what, len, words);
    exit(1);
}

static void expect(amqp_connection_state_t c, const char *what)
{
    amqp_rpc_reply_t r = amqp_get_rpc_reply(c);
    if (r.reply_type != AMQP_RESPONSE_NORMAL)
        refuse(what, &r);
}

static amqp_connection_state_t log_in(char **argv)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    if (!socket || amqp_socket_open(socket, argv[1], atoi(argv[2])) != AMQP_STATUS_OK) {
        printf("cannot connect to %s:%s\n", argv[1], argv[2]);
        exit(1);
    }
    amqp_rpc_reply_t r =
        amqp_login(c, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, argv[3], argv[4]);
    if (r.reply_type != AMQP_RESPONSE_NORMAL)
        refuse("login", &r);
    amqp_channel_open(c, 1);
    expect(c, "channel");
    amqp_confirm_select(c, 1);
    expect(c, "confirms");
    return c;
}

// "user-id=…" and the like are properties, everything else is a header.
static void add(amqp_basic_properties_t *p, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || p->headers.num_entries == HEADERS_MAX)
        exit(2);
    *equals = '\0';
    amqp_bytes_t value = amqp_cstring_bytes(equals + 1);
    if (strcmp(text, "user-id") == 0) {
        p->_flags |= AMQP_BASIC_USER_ID_FLAG;
        p->user_id = value;
    } else if (strcmp(text, "message-id") == 0) {
        p->_flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        p->message_id = value;
    } else if (strcmp(text, "type") == 0) {
        p->_flags |= AMQP_BASIC_TYPE_FLAG;
        p->type = value;
    } else {
        p->_flags |= AMQP_BASIC_HEADERS_FLAG;
        p->headers.entries[p->headers.num_entries++] = (amqp_table_entry_t){
            .key = amqp_cstring_bytes(text), .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = value}};
    }
}

// The answer to a publication, which is none of a method's: a confirm, or the end of the channel.
static void wait_for_confirm(amqp_connection_state_t c)
{
    amqp_frame_t frame;
    if (amqp_simple_wait_frame(c, &frame) != AMQP_STATUS_OK || frame.frame_type != AMQP_FRAME_METHOD) {
        printf("the broker went away\n");
        exit(1);
    }
    amqp_rpc_reply_t r = {.reply_type = AMQP_RESPONSE_SERVER_EXCEPTION, .reply = frame.payload.method};
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        refuse("refused", &r);
}

int main(int argc, char **argv)
{
    amqp_table_entry_t entries[HEADERS_MAX];
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    p.headers.entries = entries;
    char *body = malloc(BODY_MAX);
    if (argc < 7 || !body)
        return 2;
    for (int i = 7; i < argc; i++)
        add(&p, argv[i]);
    size_t len = fread(body, 1, BODY_MAX, stdin);
    amqp_connection_state_t c = log_in(argv);
    if (amqp_basic_publish(c, 1, amqp_cstring_bytes(argv[5]), amqp_cstring_bytes(argv[6]), 0, 0, &p,
                           (amqp_bytes_t){len, body}) != AMQP_STATUS_OK)
        return 1;
    wait_for_confirm(c);
    amqp_connection_close(c, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(c);
    free(body);
    return 0;
}
