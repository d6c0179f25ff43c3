/*
 * A server that answers each line in capitals: the callbacks of a connection hand it on from one request to the next. It
 * prints its port, and ends after as many connections as it is told.
 *
 *     cc lines.c $(pkg-config --cflags --libs corella) -o lines
 *     ./lines 1
 */
#include <corella.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    corella_handle socket;
    /* Bytes received and not yet answered, and how many of them are the line being answered. */
    size_t held;
    size_t line;
    char bytes[4096];
};

static corella_scheduler scheduler;
static corella_handle listener;
static int connections_left;

static void receive_more(struct connection *connection);

static void end(struct connection *connection, const char *why) {
    if (why != NULL) {
        fprintf(stderr, "a connection ended: %s\n", why);
    }
    corella_handle_free(connection->socket);
    free(connection);
    if (--connections_left == 0) {
        corella_stop(scheduler);
    }
}

/* Gives a request its callback. One that could not be made, or not be begun, ends the connection. */
static void go_on(struct connection *connection, int made, corella_request request, corella_callback callback) {
    if (made == CORELLA_OK && corella_then(request, callback, connection) == CORELLA_OK) {
        return;
    }
    end(connection, corella_last_error_text(NULL));
    if (made == CORELLA_OK) {
        corella_free(request);
    }
}

static void answer(struct connection *connection);

static void sent(corella_request request, void *user_data) {
    struct connection *connection = user_data;
    if (corella_code(request) != CORELLA_OK) {
        end(connection, corella_error_text(request, NULL));
        return;
    }
    connection->held -= connection->line;
    memmove(connection->bytes, connection->bytes + connection->line, connection->held);
    answer(connection);
}

static void received(corella_request request, void *user_data) {
    struct connection *connection = user_data;
    int64_t count;
    if (corella_result(request, &count) != CORELLA_OK) {
        end(connection, corella_error_text(request, NULL));
    } else if (count == 0) {
        end(connection, NULL);
    } else {
        connection->held += (size_t)count;
        answer(connection);
    }
}

static void answer(struct connection *connection) {
    const char *newline = memchr(connection->bytes, '\n', connection->held);
    corella_request request = NULL;
    size_t place;
    int made;
    if (newline == NULL) {
        receive_more(connection);
        return;
    }
    connection->line = (size_t)(newline - connection->bytes) + 1;
    for (place = 0; place < connection->line; place++) {
        connection->bytes[place] = (char)toupper((unsigned char)connection->bytes[place]);
    }
    made = corella_send(connection->socket, connection->bytes, connection->line, &request);
    go_on(connection, made, request, sent);
}

static void receive_more(struct connection *connection) {
    size_t room = sizeof connection->bytes - connection->held;
    corella_request request = NULL;
    int made;
    if (room == 0) {
        end(connection, "a line that is too long");
        return;
    }
    made = corella_receive(connection->socket, connection->bytes + connection->held, room, &request);
    if (made == CORELLA_OK) {
        corella_set_deadline_ms(request, 60000);
    }
    go_on(connection, made, request, received);
}

static void accept_next(void);

static void accepted(corella_request request, void *user_data) {
    struct connection *connection = calloc(1, sizeof *connection);
    (void)user_data;
    if (connection == NULL || corella_take_handle(request, &connection->socket) != CORELLA_OK) {
        fprintf(stderr, "accept: %s\n", corella_error_text(request, NULL));
        free(connection);
    } else {
        receive_more(connection);
    }
    accept_next();
}

static void accept_next(void) {
    corella_request request;
    if (corella_accept(listener, &request) == CORELLA_OK) {
        corella_then(request, accepted, NULL);
    }
}

int main(int argc, char **argv) {
    int port, code;
    connections_left = argc > 1 ? atoi(argv[1]) : 1;
    if (corella_scheduler_new(NULL, &scheduler) != CORELLA_OK ||
        corella_listen(scheduler, "127.0.0.1", 9, 0, &listener) != CORELLA_OK ||
        corella_local_address(listener, NULL, 0, &port) != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        return 1;
    }
    printf("%d\n", port);
    fflush(stdout);
    accept_next();
    code = corella_run(scheduler);
    if (code != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
    }
    return corella_scheduler_free(scheduler) == CORELLA_OK && code == CORELLA_OK ? 0 : 1;
}
