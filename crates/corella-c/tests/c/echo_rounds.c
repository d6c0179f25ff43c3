/*
 * An echo server with callbacks and its clients in one thread, in step: every client sends one message, the server turns
 * until all are answered, every client reads its answer. So the same instructions run every time, and what a round trip
 * costs the server can be counted. examples/echo_rounds.rs does the same in Rust.
 *
 *     echo_rounds CONNECTIONS ROUNDS
 */
#include <arpa/inet.h>
#include <corella.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, MESSAGE_BYTES = 64 };

/* One connection: its socket and the one buffer that its requests take turns with. */
struct connection {
    corella_handle socket;
    char buffer[BUFFER_BYTES];
};

static long long answered;

static void received(corella_request request, void *user_data);
static void sent(corella_request request, void *user_data);

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void receive(struct connection *connection) {
    corella_request request;
    if (corella_receive(connection->socket, connection->buffer, BUFFER_BYTES, &request) != CORELLA_OK ||
        corella_then(request, received, connection) != CORELLA_OK) {
        fail(corella_last_error_text(NULL));
    }
}

static void received(corella_request request, void *user_data) {
    struct connection *connection = user_data;
    int64_t count;
    corella_request next;
    if (corella_result(request, &count) != CORELLA_OK) {
        fail(corella_error_text(request, NULL));
    }
    if (count == 0) {
        corella_handle_free(connection->socket);
        free(connection);
        return;
    }
    if (corella_send(connection->socket, connection->buffer, (size_t)count, &next) != CORELLA_OK ||
        corella_then(next, sent, connection) != CORELLA_OK) {
        fail(corella_last_error_text(NULL));
    }
}

static void sent(corella_request request, void *user_data) {
    int64_t count;
    if (corella_result(request, &count) != CORELLA_OK) {
        fail(corella_error_text(request, NULL));
    }
    answered += 1;
    receive(user_data);
}

/* Connects a client and has the server accept it. */
static int connect_one(corella_handle listener, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct connection *connection = malloc(sizeof *connection);
    corella_request request;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connection == NULL || client < 0 || connect(client, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("no connection");
    }
    if (corella_accept(listener, &request) != CORELLA_OK ||
        corella_finish_handle(request, &connection->socket) != CORELLA_OK) {
        fail(corella_last_error_text(NULL));
    }
    receive(connection);
    return client;
}

int main(int argc, char **argv) {
    static char message[MESSAGE_BYTES], answer[MESSAGE_BYTES];
    corella_scheduler scheduler;
    corella_handle listener;
    char ip[64];
    int port, connections, rounds, *clients;
    if (argc != 3) {
        fail("usage: echo_rounds CONNECTIONS ROUNDS");
    }
    connections = atoi(argv[1]);
    rounds = atoi(argv[2]);
    clients = calloc((size_t)connections, sizeof *clients);
    if (clients == NULL || corella_scheduler_new(NULL, &scheduler) != CORELLA_OK ||
        corella_listen(scheduler, "127.0.0.1", 9, 0, &listener) != CORELLA_OK ||
        corella_local_address(listener, ip, sizeof ip, &port) != CORELLA_OK) {
        fail(corella_last_error_text(NULL));
    }
    for (int index = 0; index < connections; index++) {
        clients[index] = connect_one(listener, port);
    }
    memset(message, 'x', sizeof message);
    for (int round = 1; round <= rounds; round++) {
        for (int index = 0; index < connections; index++) {
            if (send(clients[index], message, sizeof message, 0) != MESSAGE_BYTES) {
                fail("a client could not send");
            }
        }
        while (answered < (long long)round * connections) {
            if (corella_run_ready(scheduler) < 0) {
                fail(corella_last_error_text(NULL));
            }
        }
        for (int index = 0; index < connections; index++) {
            if (recv(clients[index], answer, sizeof answer, MSG_WAITALL) != MESSAGE_BYTES ||
                memcmp(message, answer, sizeof answer) != 0) {
                fail("a client was answered wrongly");
            }
        }
    }
    for (int index = 0; index < connections; index++) {
        close(clients[index]);
    }
    corella_handle_free(listener);
    corella_run(scheduler); /* until every connection has seen its end */
    free(clients);
    printf("%lld round trips\n", answered);
    return corella_scheduler_free(scheduler) == CORELLA_OK ? 0 : 1;
}
