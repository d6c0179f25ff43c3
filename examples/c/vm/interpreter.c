/*
 * Tasks, instructions, exceptions, and the loop around it all.
 *
 * The loop runs one ready task after the other. When none is ready it sleeps in `corella_run_once` until something settles;
 * when a task is interrupted at a safe point it lets `corella_run_ready` call what has. Callbacks make tasks ready and run
 * no instructions. An exception jumps to the loop from wherever it is thrown: from an instruction, or from a callback,
 * through the frames of the library.
 */
#include "vm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INSTRUCTIONS_MAX = 10000 };

/* ---- Values on a task's stack ---------------------------------------------------------------------------------- */

struct value nil(void) {
    return (struct value){.kind = KIND_NIL};
}

struct value number(int64_t number) {
    return (struct value){.kind = KIND_NUMBER, .as.number = number};
}

struct value object(void *object) {
    return (struct value){.kind = KIND_OBJECT, .as.object = object};
}

void push(struct task *task, struct value value) {
    if (task->height == STACK_MAX) {
        throw_in(task->vm, task, "stack overflow");
    }
    task->stack[task->height++] = value;
}

/* The lowest place that the running function may take values from. */
static int bottom(const struct task *task) {
    const struct frame *frame = &task->frames[task->frame_count - 1];
    return frame->base + frame->function->locals;
}

static void need(struct task *task, int count) {
    if (task->height - bottom(task) < count) {
        throw_in(task->vm, task, "too few values on the stack");
    }
}

struct value pop(struct task *task) {
    need(task, 1);
    return task->stack[--task->height];
}

void drop(struct task *task, int count) {
    need(task, count);
    task->height -= count;
}

int64_t pop_number(struct task *task) {
    struct value value = pop(task);
    if (value.kind != KIND_NUMBER) {
        throw_in(task->vm, task, "not a number");
    }
    return value.as.number;
}

static struct object *object_at(struct task *task, int below, enum object_kind kind, const char *otherwise) {
    struct value value;
    need(task, below + 1);
    value = task->stack[task->height - 1 - below];
    if (value.kind != KIND_OBJECT || value.as.object->kind != kind) {
        throw_in(task->vm, task, "%s", otherwise);
    }
    return value.as.object;
}

struct string *string_at(struct task *task, int below) {
    return (struct string *)object_at(task, below, OBJECT_STRING, "not a text");
}

struct list *list_at(struct task *task, int below) {
    return (struct list *)object_at(task, below, OBJECT_LIST, "not a list");
}

struct handle *handle_at(struct task *task, int below) {
    return (struct handle *)object_at(task, below, OBJECT_HANDLE, "not a handle");
}

/* ---- Tasks ------------------------------------------------------------------------------------------------------ */

void make_ready(struct vm *vm, struct task *task) {
    task->state = TASK_READY;
    task->next_ready = NULL;
    if (vm->last_ready == NULL) {
        vm->first_ready = task;
    } else {
        vm->last_ready->next_ready = task;
    }
    vm->last_ready = task;
}

static struct task *next_ready(struct vm *vm) {
    struct task *task = vm->first_ready;
    if (task != NULL) {
        vm->first_ready = task->next_ready;
        if (vm->first_ready == NULL) {
            vm->last_ready = NULL;
        }
    }
    return task;
}

/* Enters a function whose arguments are on top of the stack. */
static void enter(struct task *task, int64_t index) {
    const struct function *function = &task->vm->program.functions[index];
    struct frame *frame;
    if (task->frame_count == FRAMES_MAX || task->height - function->arguments + function->locals > STACK_MAX) {
        throw_in(task->vm, task, "stack overflow");
    }
    if (task->frame_count > 0) {
        need(task, function->arguments);
    }
    frame = &task->frames[task->frame_count++];
    *frame = (struct frame){function, function->start, task->height - function->arguments};
    for (int local = function->arguments; local < function->locals; local++) {
        task->stack[task->height++] = nil();
    }
}

struct task *task_begin(struct vm *vm, struct task *from, int64_t function, int arguments) {
    struct task *task;
    if (vm->task_count == vm->task_capacity) {
        size_t capacity = vm->task_capacity == 0 ? 64 : 2 * vm->task_capacity;
        struct task **larger = realloc(vm->tasks, capacity * sizeof *larger);
        if (larger == NULL) {
            return NULL;
        }
        vm->tasks = larger;
        vm->task_capacity = capacity;
    }
    task = calloc(1, sizeof *task);
    if (task == NULL) {
        return NULL;
    }
    task->vm = vm;
    for (int index = 0; index < arguments; index++) {
        task->stack[task->height++] = from->stack[from->height - arguments + index];
    }
    if (from != NULL) {
        from->height -= arguments;
    }
    enter(task, function);
    task->place = vm->task_count;
    vm->tasks[vm->task_count++] = task;
    make_ready(vm, task);
    return task;
}

void task_end(struct vm *vm, struct task *task) {
    struct task *last = vm->tasks[--vm->task_count];
    vm->tasks[task->place] = last;
    last->place = task->place;
    if (task->buffer != NULL) {
        corella_buffer_free(task->buffer);
    }
    free(task);
}

/* ---- Exceptions ------------------------------------------------------------------------------------------------- */

void throw_in(struct vm *vm, struct task *task, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(vm->message, sizeof vm->message, format, arguments);
    va_end(arguments);
    vm->thrown_in = task;
    longjmp(vm->landing, 1);
}

/* Where an exception has landed: it goes on in its task's handler, or ends the task. */
static void land(struct vm *vm) {
    struct task *task = vm->thrown_in;
    vm->thrown_in = NULL;
    vm->exceptions += 1;
    if (task->handler_count == 0) {
        int line = task->frame_count > 0 ? (int)task->frames[task->frame_count - 1].next - 1 : 0;
        fprintf(stderr, "line %d: %s\n", vm->program.code[line < 0 ? 0 : line].line, vm->message);
        vm->uncaught = 1;
        task_end(vm, task);
        return;
    }
    struct handler handler = task->handlers[--task->handler_count];
    task->frame_count = handler.frames;
    task->height = handler.height;
    task->frames[task->frame_count - 1].next = handler.target;
    make_ready(vm, task);
    /* This may throw again; then `vm_run` takes the task off the list, and its next handler has its turn. */
    push(task, object(new_string(vm, task, vm->message, strlen(vm->message))));
}

/* Takes a task off the ready list, wherever it is there. */
static void unready(struct vm *vm, struct task *task) {
    struct task *previous = NULL;
    for (struct task *other = vm->first_ready; other != NULL; previous = other, other = other->next_ready) {
        if (other == task) {
            *(previous == NULL ? &vm->first_ready : &previous->next_ready) = task->next_ready;
            vm->last_ready = vm->last_ready == task ? previous : vm->last_ready;
            return;
        }
    }
}

/* ---- Instructions ----------------------------------------------------------------------------------------------- */

static int is_true(struct value value) {
    return value.kind == KIND_OBJECT || (value.kind == KIND_NUMBER && value.as.number != 0);
}

static int are_equal(struct value one, struct value other) {
    if (one.kind != other.kind || one.kind == KIND_NIL) {
        return one.kind == other.kind;
    }
    if (one.kind == KIND_NUMBER) {
        return one.as.number == other.as.number;
    }
    if (one.as.object->kind == OBJECT_STRING && other.as.object->kind == OBJECT_STRING) {
        struct string *text = (struct string *)one.as.object, *second = (struct string *)other.as.object;
        return text->length == second->length && memcmp(text->bytes, second->bytes, text->length) == 0;
    }
    return one.as.object == other.as.object;
}

static struct value *local(struct task *task, int64_t index) {
    struct frame *frame = &task->frames[task->frame_count - 1];
    if (index < 0 || index >= frame->function->locals) {
        throw_in(task->vm, task, "no such local");
    }
    return &task->stack[frame->base + index];
}

static struct value *global(struct task *task, int64_t index) {
    if (index < 0 || index >= GLOBALS_MAX) {
        throw_in(task->vm, task, "no such global");
    }
    return &task->vm->globals[index];
}

/* Back to the caller with one value; 0 when there is none and the task is over. */
static int leave(struct task *task) {
    struct value result = pop(task);
    task->height = task->frames[--task->frame_count].base;
    while (task->handler_count > 0 && task->handlers[task->handler_count - 1].frames > task->frame_count) {
        task->handler_count--;
    }
    if (task->frame_count == 0) {
        return 0;
    }
    push(task, result);
    return 1;
}

/*
 * Whether the task must let others run: it has had its share, or there is I/O to look at. That answer is kept, since it
 * may be given once only: where nothing tells that cheaply, it is 1 every so many calls.
 */
static int is_interrupted(struct vm *vm) {
    vm->safe_points += 1;
    vm->has_work |= corella_has_work(vm->scheduler) == 1;
    return vm->has_work || vm->budget <= 0;
}

static void jump(struct task *task, int64_t target) {
    task->frames[task->frame_count - 1].next = target;
}

/* Numbers and jumps. */
static void compute(struct task *task, enum opcode opcode) {
    struct value second, first;
    if (opcode == OP_EQUAL) {
        second = pop(task);
        first = pop(task);
        push(task, number(are_equal(first, second)));
        return;
    }
    second = number(pop_number(task));
    first = number(pop_number(task));
    switch (opcode) {
    case OP_ADD:
        push(task, number(first.as.number + second.as.number));
        break;
    case OP_SUBTRACT:
        push(task, number(first.as.number - second.as.number));
        break;
    default:
        push(task, number(first.as.number < second.as.number));
        break;
    }
}

static void move_values(struct task *task, const struct instruction *instruction) {
    const char *text;
    switch (instruction->opcode) {
    case OP_PUSH_NUMBER:
        push(task, number(instruction->operand));
        break;
    case OP_PUSH_TEXT:
        text = task->vm->program.texts[instruction->operand];
        push(task, object(new_string(task->vm, task, text, strlen(text))));
        break;
    case OP_PUSH_NIL:
        push(task, nil());
        break;
    case OP_DROP:
        drop(task, 1);
        break;
    case OP_COPY:
        need(task, 1);
        push(task, task->stack[task->height - 1]);
        break;
    case OP_LOAD:
        push(task, *local(task, instruction->operand));
        break;
    case OP_STORE:
        *local(task, instruction->operand) = pop(task);
        break;
    case OP_LOAD_GLOBAL:
        push(task, *global(task, instruction->operand));
        break;
    default:
        *global(task, instruction->operand) = pop(task);
        break;
    }
}

static void begin_try(struct task *task, int64_t target) {
    if (task->handler_count == HANDLERS_MAX) {
        throw_in(task->vm, task, "too many handlers");
    }
    task->handlers[task->handler_count++] = (struct handler){target, task->frame_count, task->height};
}

static void spawn(struct vm *vm, struct task *task, int64_t function) {
    int arguments = vm->program.functions[function].arguments;
    need(task, arguments);
    if (task_begin(vm, task, function, arguments) == NULL) {
        throw_in(vm, task, "no memory for a task");
    }
}

enum going { GO_ON, SAFE_POINT, STOP };

/* One instruction. `SAFE_POINT` after a jump backwards or a call, `STOP` when the task waits or has ended. */
static enum going step(struct vm *vm, struct task *task) {
    struct frame *frame = &task->frames[task->frame_count - 1];
    const struct instruction *instruction = &vm->program.code[frame->next++];
    int64_t operand = instruction->operand;
    switch (instruction->opcode) {
    case OP_ADD:
    case OP_SUBTRACT:
    case OP_LESS:
    case OP_EQUAL:
        compute(task, instruction->opcode);
        return GO_ON;
    case OP_JUMP_UNLESS:
        if (is_true(pop(task))) {
            return GO_ON;
        }
        /* fall through */
    case OP_JUMP: {
        int backwards = operand < frame->next;
        jump(task, operand);
        return backwards ? SAFE_POINT : GO_ON;
    }
    case OP_CALL:
        enter(task, operand);
        return SAFE_POINT;
    case OP_SPAWN:
        spawn(vm, task, operand);
        return GO_ON;
    case OP_RETURN:
        if (leave(task)) {
            return GO_ON;
        }
        task->state = TASK_ENDED;
        return STOP;
    case OP_TRY:
        begin_try(task, operand);
        return GO_ON;
    case OP_END_TRY:
        task->handler_count -= task->handler_count > 0;
        return GO_ON;
    case OP_THROW:
        throw_in(vm, task, "%.*s", (int)string_at(task, 0)->length, string_at(task, 0)->bytes);
    case OP_NATIVE:
        need(task, NATIVES[operand].arguments);
        NATIVES[operand].call(vm, task);
        return task->state == TASK_READY ? GO_ON : STOP;
    default:
        move_values(task, instruction);
        return GO_ON;
    }
}

/* Runs a task until it waits, ends, or is interrupted; then it is at the end of the ready list. */
static void run_task(struct vm *vm, struct task *task) {
    vm->budget = INSTRUCTIONS_MAX;
    for (;;) {
        enum going going = step(vm, task);
        vm->budget -= 1;
        if (going == STOP) {
            if (task->state == TASK_ENDED) {
                task_end(vm, task);
            }
            return;
        }
        if (going == SAFE_POINT && is_interrupted(vm)) {
            make_ready(vm, task);
            return;
        }
    }
}

/* Lets Corella work: waits if no task is ready. The callbacks that it calls may throw, out of it. */
static void let_io_run(struct vm *vm) {
    int code = 0;
    if (vm->first_ready == NULL) {
        code = corella_run_once(vm->scheduler, -1);
    } else if (vm->has_work || corella_has_work(vm->scheduler) == 1) {
        vm->has_work = 0;
        vm->polls += 1;
        code = corella_run_ready(vm->scheduler);
    }
    if (code < 0) {
        /* There is no I/O any more, and with that no way on. */
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        exit(1);
    }
}

int vm_run(struct vm *vm) {
    /* Nothing that is set below this is kept in a variable: a jump would not keep it. */
    if (setjmp(vm->landing) != 0) {
        unready(vm, vm->thrown_in);
        land(vm);
    }
    while (vm->task_count > 0) {
        struct task *task;
        let_io_run(vm);
        task = next_ready(vm);
        if (task != NULL) {
            run_task(vm, task);
        }
    }
    return vm->uncaught;
}
