/*
 * A TCP echo server with callbacks, as examples/echo_callbacks.rs does it in Rust.
 *
 *     cc -O2 echo_callbacks.c $(pkg-config --cflags --libs corella) -o echo_callbacks
 *     ./echo_callbacks 127.0.0.1 7000
 *
 * With a third argument it ends after as many connections.
 */
#include <corella.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_BYTES = 16 * 1024 };

/* One connection: its socket and the one buffer that its requests take turns with. */
struct connection {
    corella_handle socket;
    char buffer[BUFFER_BYTES];
};

static corella_scheduler scheduler;
/* Until it ends; below 1 at first for a server that does not. */
static long connections_left;

static void received(corella_request request, void *user_data);
static void sent(corella_request request, void *user_data);

static void end(struct connection *connection) {
    corella_handle_free(connection->socket); /* closes it in the background */
    free(connection);
    if (--connections_left == 0) {
        corella_stop(scheduler);
    }
}

/* Nothing of the connection's is in flight where this is called, so it may be freed. */
static void end_with(struct connection *connection, const char *why) {
    fprintf(stderr, "%s\n", why);
    end(connection);
}

static void receive(struct connection *connection) {
    corella_request request;
    if (corella_receive(connection->socket, connection->buffer, BUFFER_BYTES, &request) != CORELLA_OK ||
        corella_then(request, received, connection) != CORELLA_OK) {
        end_with(connection, corella_last_error_text(NULL));
        corella_free(request); /* made and not begun it is ours; null if it was not made */
    }
}

static void received(corella_request request, void *user_data) {
    struct connection *connection = user_data;
    int64_t count;
    corella_request next;
    if (corella_result(request, &count) != CORELLA_OK) {
        end_with(connection, corella_error_text(request, NULL));
    } else if (count == 0) {
        end(connection);
    } else if (corella_send(connection->socket, connection->buffer, (size_t)count, &next) != CORELLA_OK ||
               corella_then(next, sent, connection) != CORELLA_OK) {
        end_with(connection, corella_last_error_text(NULL));
        corella_free(next);
    }
}

static void sent(corella_request request, void *user_data) {
    struct connection *connection = user_data;
    if (corella_code(request) != CORELLA_OK) {
        end_with(connection, corella_error_text(request, NULL));
    } else {
        receive(connection);
    }
}

static void accepted(corella_request request, void *user_data);

static void accept_next(corella_handle listener) {
    corella_request request;
    if (corella_accept(listener, &request) != CORELLA_OK ||
        corella_then(request, accepted, listener) != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        corella_free(request);
    }
}

static void accepted(corella_request request, void *user_data) {
    corella_handle socket;
    if (corella_take_handle(request, &socket) == CORELLA_OK) {
        struct connection *connection = malloc(sizeof *connection);
        if (connection != NULL) {
            connection->socket = socket;
            receive(connection);
        } else {
            corella_handle_free(socket);
        }
    } else {
        fprintf(stderr, "%s\n", corella_error_text(request, NULL));
    }
    accept_next(user_data);
}

int main(int argc, char **argv) {
    corella_handle listener;
    char ip[64];
    int port;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: echo_callbacks IP PORT [CONNECTIONS], such as 127.0.0.1 7000\n");
        return 1;
    }
    connections_left = argc == 4 ? atol(argv[3]) : 0;
    if (corella_scheduler_new(NULL, &scheduler) != CORELLA_OK ||
        corella_listen(scheduler, argv[1], strlen(argv[1]), atoi(argv[2]), &listener) != CORELLA_OK ||
        corella_local_address(listener, ip, sizeof ip, &port) != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        return 1;
    }
    printf("echo on %s:%d with %s\n", ip, port,
           corella_backend(scheduler) == CORELLA_BACKEND_URING ? "uring" : "portable");
    fflush(stdout);
    accept_next(listener);
    corella_run(scheduler);
    corella_scheduler_free(scheduler);
    return 0;
}
