/*
 * Starts the machine on a program and ends it in good order.
 *
 *     cc -std=c11 -O2 *.c $(pkg-config --cflags --libs corella) -lpthread -o vm
 *     ./vm serve.vm 1000 &                        # prints its port
 *     ./vm visit.vm PORT 1000 /etc/services
 *
 * `--heap BYTES` before the program limits the heap; 64 MiB at first.
 */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* As many descriptors as the system gives: a server of a thousand connections needs more than the usual 1024. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(void) {
    fprintf(stderr, "usage: vm [--heap BYTES] PROGRAM [ARGUMENT ...]\n");
    return 2;
}

/*
 * All that is in flight is cancelled, and the OS lets go of it; then the tasks go, which wait for nothing any more. Their
 * callbacks are not called: the scheduler is freed instead of run.
 */
static int end(struct vm *vm) {
    int64_t leaked = 0;
    int code = corella_shutdown(vm->scheduler, -1, &leaked);
    while (vm->task_count > 0) {
        task_end(vm, vm->tasks[0]);
    }
    corella_remote_free(vm->remote);
    if (corella_scheduler_free(vm->scheduler) != CORELLA_OK || code != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        return 1;
    }
    heap_end(&vm->heap);
    free(vm->tasks);
    program_free(&vm->program);
    return 0;
}

int main(int argc, char **argv) {
    static struct vm vm;
    size_t limit = 64 << 20;
    int first = 1, code;
    if (argc > 3 && strcmp(argv[1], "--heap") == 0) {
        limit = strtoull(argv[2], NULL, 10);
        first = 3;
    }
    if (first >= argc || limit == 0) {
        return usage();
    }
    if (!program_read(&vm.program, argv[first]) || !heap_begin(&vm.heap, limit)) {
        return 1;
    }
    vm.arguments = argv + first + 1;
    vm.argument_count = argc - first - 1;
    raise_descriptor_limit();
    if (corella_scheduler_new(NULL, &vm.scheduler) != CORELLA_OK ||
        corella_remote_new(vm.scheduler, &vm.remote) != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        return 1;
    }
    if (task_begin(&vm, NULL, find_function(&vm.program, "main"), 0) == NULL) {
        return 1;
    }
    code = vm_run(&vm);
    fprintf(stderr, "collections %lld, safe points %lld, polls %lld, exceptions %lld\n", (long long)vm.heap.collections,
            (long long)vm.safe_points, (long long)vm.polls, (long long)vm.exceptions);
    return end(&vm) != 0 ? 1 : code;
}
