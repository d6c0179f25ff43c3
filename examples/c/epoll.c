/*
 * Corella inside a plain epoll loop: the loop has a descriptor of its own (a pipe, from which it reads lines), and Corella's
 * OS handle is one more. Each line names a file; Corella reads it, and the callback prints its length.
 *
 *     cc epoll.c $(pkg-config --cflags --libs corella) -o epoll
 *     ls | ./epoll
 */
#include <corella.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, READ_BYTES = 1 << 16 };

static corella_scheduler scheduler;
/* Files being read. */
static int running;

struct reading {
    corella_handle file;
    long long total;
    char name[LINE_MAX_BYTES];
    char bytes[READ_BYTES];
};

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, corella_last_error_text(NULL));
    exit(1);
}

static void finished(struct reading *reading, const char *why) {
    if (why != NULL) {
        printf("%s: %s\n", reading->name, why);
    } else {
        printf("%s: %lld bytes\n", reading->name, reading->total);
    }
    corella_handle_free(reading->file);
    free(reading);
    running--;
}

static void was_read(corella_request request, void *user_data);

static void read_on(struct reading *reading) {
    corella_request request;
    if (corella_read(reading->file, reading->bytes, READ_BYTES, &request) != CORELLA_OK ||
        corella_then(request, was_read, reading) != CORELLA_OK) {
        fail("read");
    }
}

static void was_read(corella_request request, void *user_data) {
    struct reading *reading = user_data;
    int64_t count;
    if (corella_result(request, &count) != CORELLA_OK) {
        finished(reading, corella_error_text(request, NULL));
    } else if (count == 0) {
        finished(reading, NULL);
    } else {
        reading->total += count;
        read_on(reading);
    }
}

static void was_opened(corella_request request, void *user_data) {
    struct reading *reading = user_data;
    if (corella_take_handle(request, &reading->file) != CORELLA_OK) {
        finished(reading, corella_error_text(request, NULL));
    } else {
        read_on(reading);
    }
}

static void open_named(const char *name) {
    struct reading *reading = calloc(1, sizeof *reading);
    corella_request request;
    if (reading == NULL) {
        abort();
    }
    snprintf(reading->name, sizeof reading->name, "%s", name);
    if (corella_open(scheduler, name, strlen(name), CORELLA_READ, &request) != CORELLA_OK ||
        corella_then(request, was_opened, reading) != CORELLA_OK) {
        fail("open");
    }
    running++;
}

/* Takes whole lines out of what has come. */
static size_t take_lines(char *text, size_t length) {
    char *start = text, *end;
    while ((end = memchr(start, '\n', length - (size_t)(start - text))) != NULL) {
        *end = '\0';
        open_named(start);
        start = end + 1;
    }
    length -= (size_t)(start - text);
    memmove(text, start, length);
    return length;
}

static void watch(int loop, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

int main(void) {
    int loop = epoll_create1(EPOLL_CLOEXEC), has_input = 1;
    intptr_t os_handle;
    char text[LINE_MAX_BYTES];
    size_t length = 0;

    if (corella_scheduler_new(NULL, &scheduler) != CORELLA_OK ||
        corella_os_handle(scheduler, &os_handle) != CORELLA_OK) {
        fail("start");
    }
    watch(loop, STDIN_FILENO);
    watch(loop, (int)os_handle);
    while (has_input || running > 0) {
        struct epoll_event events[8];
        int timeout_ms, count, index;
        /* Hands over what is batched, and says how long this loop may sleep. */
        if (corella_prepare_wait(scheduler, &timeout_ms) != CORELLA_OK) {
            fail("prepare_wait");
        }
        count = epoll_wait(loop, events, 8, timeout_ms);
        if (count < 0 && errno != EINTR) {
            perror("epoll_wait");
            return 1;
        }
        for (index = 0; index < count; index++) {
            if (events[index].data.fd == STDIN_FILENO) {
                ssize_t got = read(STDIN_FILENO, text + length, sizeof text - length);
                if (got > 0) {
                    length = take_lines(text, length + (size_t)got);
                } else {
                    has_input = 0;
                    epoll_ctl(loop, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
                }
            }
        }
        /* After each wait, however it ended. */
        if (corella_run_ready(scheduler) < 0) {
            fail("run");
        }
    }
    corella_scheduler_free(scheduler);
    close(loop);
    return 0;
}
