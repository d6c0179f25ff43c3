/*
 * What programs call: texts and lists at once, I/O by requests of Corella's.
 *
 * A native that does I/O names the operation, gives it `settled` as its callback and the task as its user data, and marks
 * the task as waiting; the interpreter goes on with others. The callback runs on this thread, inside `corella_run_once` or
 * `corella_run_ready`: it may allocate in the heap, and so collect, and it may throw, which jumps out of those functions.
 *
 * Objects move, so no request is lent their bytes. Each task has a buffer of the library's that stays in place.
 */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 1 << 20 };

/* ---- Requests --------------------------------------------------------------------------------------------------- */

/* Leaves what a request gave on its task's stack. */
static void take(struct vm *vm, struct task *task, corella_request request, int64_t count) {
    struct string *string;
    struct handle *handle;
    switch (task->taking) {
    case TAKE_NIL:
        push(task, nil());
        break;
    case TAKE_COUNT:
        push(task, number(count));
        break;
    case TAKE_HANDLE:
        /* The object first: if there is no room for it, the request still has the handle and closes it. */
        handle = new_handle(vm, task, NULL);
        push(task, object(handle));
        corella_take_handle(request, &handle->id);
        break;
    case TAKE_BYTES:
        string = new_empty_string(vm, task, (size_t)count);
        memcpy(string->bytes, corella_buffer_data(task->buffer), (size_t)count);
        push(task, object(string));
        break;
    }
}

/* A request of a task's has settled. The request is the library's and freed by it, also if this is left by a jump. */
static void settled(corella_request request, void *user_data) {
    struct task *task = user_data;
    struct vm *vm = task->vm;
    int64_t count = 0;
    task->state = TASK_READY;
    if (corella_result(request, &count) != CORELLA_OK) {
        throw_in(vm, task, "%s", corella_error_text(request, NULL));
    }
    take(vm, task, request, count);
    make_ready(vm, task);
}

/* What could not be done at once is an exception here and now. */
static void check(struct vm *vm, struct task *task, int code) {
    if (code < 0) {
        throw_in(vm, task, "%s", corella_last_error_text(NULL));
    }
}

/* Has the task wait for a request. `code` is what the function answered that named it. */
static void wait_for(struct vm *vm, struct task *task, int code, corella_request request, enum taking taking) {
    check(vm, task, code);
    task->taking = taking;
    code = corella_then(request, settled, task);
    if (code < 0) {
        corella_free(request);
        check(vm, task, code);
    }
    task->state = TASK_WAITING;
}

/* Sees to it that the task's buffer has room for so many bytes. */
static void need_buffer(struct vm *vm, struct task *task, size_t length) {
    if (task->buffer_length >= length && task->buffer != NULL) {
        return;
    }
    if (task->buffer != NULL) {
        corella_buffer_free(task->buffer);
        task->buffer = NULL;
    }
    check(vm, task, corella_buffer_new(vm->scheduler, length, &task->buffer));
    task->buffer_length = length;
}

/* Moves bytes through the task's buffer. */
static void transfer(struct vm *vm, struct task *task, int code, corella_request request, size_t length,
                     enum taking taking) {
    check(vm, task, code);
    code = corella_set_buffer(request, task->buffer, 0, length);
    if (code < 0) {
        corella_free(request);
        check(vm, task, code);
    }
    wait_for(vm, task, CORELLA_OK, request, taking);
}

static size_t chunk_length(struct vm *vm, struct task *task) {
    int64_t length = pop_number(task);
    if (length < 1 || length > CHUNK_MAX) {
        throw_in(vm, task, "not a length to read: %lld", (long long)length);
    }
    need_buffer(vm, task, (size_t)length);
    return (size_t)length;
}

/* ---- Sockets and files ------------------------------------------------------------------------------------------ */

/* ip, port: a listener */
static void native_listen(struct vm *vm, struct task *task) {
    int port = (int)pop_number(task);
    struct handle *handle = new_handle(vm, task, NULL);
    struct string *ip = string_at(task, 0);
    check(vm, task, corella_listen(vm->scheduler, ip->bytes, ip->length, port, &handle->id));
    drop(task, 1);
    push(task, object(handle));
}

/* listener: its port */
static void native_port(struct vm *vm, struct task *task) {
    char ip[64];
    int port = 0;
    check(vm, task, corella_local_address(handle_at(task, 0)->id, ip, sizeof ip, &port));
    drop(task, 1);
    push(task, number(port));
}

/* listener: a connection */
static void native_accept(struct vm *vm, struct task *task) {
    corella_request request;
    int code = corella_accept(handle_at(task, 0)->id, &request);
    drop(task, 1);
    wait_for(vm, task, code, request, TAKE_HANDLE);
}

/* host, port: a connection */
static void native_connect(struct vm *vm, struct task *task) {
    corella_request request;
    int port = (int)pop_number(task);
    struct string *host = string_at(task, 0);
    int code = corella_connect(vm->scheduler, host->bytes, host->length, port, &request);
    drop(task, 1);
    wait_for(vm, task, code, request, TAKE_HANDLE);
}

/* connection, most: a text, empty at the peer's end */
static void native_receive(struct vm *vm, struct task *task) {
    corella_request request;
    size_t length = chunk_length(vm, task);
    int code = corella_receive(handle_at(task, 0)->id, NULL, 0, &request);
    drop(task, 1);
    transfer(vm, task, code, request, length, TAKE_BYTES);
}

/* connection, text: how many bytes, all of them */
static void native_send(struct vm *vm, struct task *task) {
    corella_request request;
    size_t length = string_at(task, 0)->length;
    int code;
    need_buffer(vm, task, length == 0 ? 1 : length);
    memcpy(corella_buffer_data(task->buffer), string_at(task, 0)->bytes, length);
    code = corella_send(handle_at(task, 1)->id, NULL, 0, &request);
    drop(task, 2);
    transfer(vm, task, code, request, length, TAKE_COUNT);
}

/* path: a file */
static void native_open(struct vm *vm, struct task *task) {
    corella_request request;
    struct string *path = string_at(task, 0);
    int code = corella_open(vm->scheduler, path->bytes, path->length, CORELLA_READ, &request);
    drop(task, 1);
    wait_for(vm, task, code, request, TAKE_HANDLE);
}

/* file, most: a text, empty at the end */
static void native_read(struct vm *vm, struct task *task) {
    corella_request request;
    size_t length = chunk_length(vm, task);
    int code = corella_read(handle_at(task, 0)->id, NULL, 0, &request);
    drop(task, 1);
    transfer(vm, task, code, request, length, TAKE_BYTES);
}

/* handle: nil, once it is closed */
static void native_close(struct vm *vm, struct task *task) {
    corella_request request;
    int code = corella_close(handle_at(task, 0)->id, &request);
    drop(task, 1);
    wait_for(vm, task, code, request, TAKE_NIL);
}

/* milliseconds: nil, later */
static void native_sleep(struct vm *vm, struct task *task) {
    corella_request request;
    int code = corella_sleep(vm->scheduler, pop_number(task) * 1000000, &request);
    wait_for(vm, task, code, request, TAKE_NIL);
}

/* ---- Another thread --------------------------------------------------------------------------------------------- */

/* Work for a thread of its own, which may not look at the heap: it has all it needs here. */
struct job {
    struct task *task;
    corella_remote remote;
    pthread_t thread;
    int64_t limit;
    int64_t sum;
};

/* On the machine's thread again. */
static void job_reported(corella_request request, void *user_data) {
    struct job *job = user_data;
    struct task *task = job->task;
    int64_t sum = job->sum;
    (void)request;
    pthread_join(job->thread, NULL);
    free(job);
    task->state = TASK_READY;
    push(task, number(sum));
    make_ready(task->vm, task);
}

static void *run_job(void *argument) {
    struct job *job = argument;
    for (int64_t term = 1; term <= job->limit; term++) {
        job->sum += term;
    }
    /* Refused only when tens of thousands of posts wait. */
    while (corella_remote_post(job->remote, job_reported, job, 0) == CORELLA_ERROR_REJECTED) {
    }
    return NULL;
}

/* n: the sum of 1 to n, computed by another thread */
static void native_sum_elsewhere(struct vm *vm, struct task *task) {
    int64_t limit = pop_number(task);
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        throw_in(vm, task, "no memory for a job");
    }
    *job = (struct job){.task = task, .remote = vm->remote, .limit = limit};
    task->state = TASK_WAITING;
    if (pthread_create(&job->thread, NULL, run_job, job) != 0) {
        task->state = TASK_READY;
        free(job);
        throw_in(vm, task, "no thread to be had");
    }
}

/* ---- Texts, lists, and the world --------------------------------------------------------------------------------- */

/* text: nil; prints it on a line of its own */
static void native_print(struct vm *vm, struct task *task) {
    (void)vm;
    printf("%.*s\n", (int)string_at(task, 0)->length, string_at(task, 0)->bytes);
    fflush(stdout);
    drop(task, 1);
    push(task, nil());
}

/* index: that argument of the command line as text */
static void native_argument(struct vm *vm, struct task *task) {
    int64_t index = pop_number(task);
    if (index < 0 || index >= vm->argument_count) {
        throw_in(vm, task, "no argument %lld", (long long)index);
    }
    push(task, object(new_string(vm, task, vm->arguments[index], strlen(vm->arguments[index]))));
}

/* text: the number that it begins with */
static void native_to_number(struct vm *vm, struct task *task) {
    char text[32] = "";
    struct string *string = string_at(task, 0);
    (void)vm;
    memcpy(text, string->bytes, string->length < sizeof text ? string->length : sizeof text - 1);
    drop(task, 1);
    push(task, number(atoll(text)));
}

/* number: as text */
static void native_to_text(struct vm *vm, struct task *task) {
    char text[32];
    int length = snprintf(text, sizeof text, "%lld", (long long)pop_number(task));
    push(task, object(new_string(vm, task, text, (size_t)length)));
}

/* text, text: both as one */
static void native_concat(struct vm *vm, struct task *task) {
    size_t first = string_at(task, 1)->length, second = string_at(task, 0)->length;
    struct string *both = new_empty_string(vm, task, first + second);
    memcpy(both->bytes, string_at(task, 1)->bytes, first);
    memcpy(both->bytes + first, string_at(task, 0)->bytes, second);
    drop(task, 2);
    push(task, object(both));
}

/* text, text: where the second is in the first, or -1 */
static void native_find(struct vm *vm, struct task *task) {
    struct string *text = string_at(task, 1), *wanted = string_at(task, 0);
    int64_t place = -1;
    (void)vm;
    for (size_t start = 0; place < 0 && start + wanted->length <= text->length; start++) {
        if (memcmp(text->bytes + start, wanted->bytes, wanted->length) == 0) {
            place = (int64_t)start;
        }
    }
    drop(task, 2);
    push(task, number(place));
}

/* text, start, end: the part between */
static void native_slice(struct vm *vm, struct task *task) {
    int64_t end = pop_number(task), start = pop_number(task);
    struct string *part;
    if (start < 0 || end < start || (size_t)end > string_at(task, 0)->length) {
        throw_in(vm, task, "no such part of the text");
    }
    part = new_empty_string(vm, task, (size_t)(end - start));
    memcpy(part->bytes, string_at(task, 0)->bytes + start, part->length);
    drop(task, 1);
    push(task, object(part));
}

/* text: its length in bytes */
static void native_length(struct vm *vm, struct task *task) {
    int64_t length = (int64_t)string_at(task, 0)->length;
    (void)vm;
    drop(task, 1);
    push(task, number(length));
}

/* a new list */
static void native_list(struct vm *vm, struct task *task) {
    push(task, object(new_list(vm, task)));
}

/* list, value: the list, with the value at its end */
static void native_append(struct vm *vm, struct task *task) {
    append_to_list(vm, task);
}

/* list, index: that value */
static void native_at(struct vm *vm, struct task *task) {
    int64_t index = pop_number(task);
    struct list *list = list_at(task, 0);
    if (index < 0 || (size_t)index >= list->length) {
        throw_in(vm, task, "no value %lld in the list", (long long)index);
    }
    drop(task, 1);
    push(task, list->items->values[index]);
}

/* how many times the collector has run */
static void native_collections(struct vm *vm, struct task *task) {
    push(task, number(vm->heap.collections));
}

const struct native_entry NATIVES[] = {
    {"listen", 2, native_listen},
    {"port", 1, native_port},
    {"accept", 1, native_accept},
    {"connect", 2, native_connect},
    {"receive", 2, native_receive},
    {"send", 2, native_send},
    {"open", 1, native_open},
    {"read", 2, native_read},
    {"close", 1, native_close},
    {"sleep", 1, native_sleep},
    {"sum_elsewhere", 1, native_sum_elsewhere},
    {"print", 1, native_print},
    {"argument", 1, native_argument},
    {"to_number", 1, native_to_number},
    {"to_text", 1, native_to_text},
    {"concat", 2, native_concat},
    {"find", 2, native_find},
    {"slice", 3, native_slice},
    {"length", 1, native_length},
    {"list", 0, native_list},
    {"append", 2, native_append},
    {"at", 2, native_at},
    {"collections", 0, native_collections},
};

const size_t NATIVE_COUNT = sizeof NATIVES / sizeof NATIVES[0];
