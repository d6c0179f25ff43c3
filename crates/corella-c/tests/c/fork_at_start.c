/*
 * A child that is forked while another thread makes its process's first scheduler waits for nothing of that thread's.
 * `fork_at_start FUNCTION`: that thread is at the time inside FUNCTION, one of the two of the system's library that are
 * taken the place of here.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t parent;
static char stops_in[64];
static int is_inside[2], may_go_on[2]; /* pipes, a byte each */

static void stop_in(const char *function) {
    char byte;
    if (getpid() == parent && strcmp(function, stops_in) == 0) {
        stops_in[0] = 0;
        CHECK(write(is_inside[1], "", 1) == 1 && read(may_go_on[0], &byte, 1) == 1);
    }
}

int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    int (*next)(int, const struct sigaction *, struct sigaction *);
    *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    stop_in("sigaction");
    return next(number, action, before);
}

/* What pthread_atfork calls. */
int __register_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void), void *library) {
    int (*next)(void (*)(void), void (*)(void), void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__register_atfork");
    stop_in("__register_atfork");
    return next(before, in_parent, in_child, library);
}

static void *make_a_scheduler(void *unused) {
    OK(corella_scheduler_free(scheduler_new()));
    return unused;
}

int main(int argc, char **argv) {
    enum { SECONDS = 10 };
    pthread_t thread;
    pid_t child;
    int status;
    char byte;
    CHECK(argc == 2 && strlen(argv[1]) < sizeof stops_in);
    strcpy(stops_in, argv[1]);
    parent = getpid();
    CHECK(pipe(is_inside) == 0 && pipe(may_go_on) == 0);
    CHECK(pthread_create(&thread, NULL, make_a_scheduler, NULL) == 0);
    CHECK(read(is_inside[0], &byte, 1) == 1);
    child = fork();
    if (child == 0) {
        corella_token token;
        corella_request request;
        corella_scheduler s;
        alarm(SECONDS); /* its end, if it waits */
        OK(corella_token_new(&token));
        s = scheduler_new();
        OK(corella_sleep(s, 3600000000000LL, &request));
        OK(corella_set_token(request, token));
        OK(corella_token_cancel(token));
        CHECK(corella_finish(request, NULL) == CORELLA_ERROR_CANCELLED);
        OK(corella_scheduler_free(s));
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(write(may_go_on[1], "", 1) == 1 && pthread_join(thread, NULL) == 0);
    return 0;
}
