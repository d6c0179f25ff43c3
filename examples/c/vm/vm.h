/*
 * A small stack machine with green tasks, a collected heap whose objects move, and exceptions by longjmp: a host for
 * Corella as real virtual machines are. docs/EMBEDDING.md explains the same steps in words.
 *
 *   main.c         starts it and ends it
 *   program.c      from a program's text to instructions
 *   interpreter.c  tasks, instructions, exceptions, the loop around it all
 *   io.c           what programs call of Corella's; the callbacks
 *   heap.c         objects, and the collector
 */
#ifndef VM_H
#define VM_H

#include <corella.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

struct vm;
struct task;

/* ---- Values and objects ------------------------------------------------------------------------------------ */

enum kind { KIND_NIL, KIND_NUMBER, KIND_OBJECT };

/* What is on stacks, in lists and in globals. Objects move: no C variable keeps one across an allocation. */
struct value {
    enum kind kind;
    union {
        int64_t number;
        struct object *object;
    } as;
};

enum object_kind { OBJECT_STRING, OBJECT_LIST, OBJECT_ITEMS, OBJECT_HANDLE };

/* What every object in the heap begins with. */
struct object {
    enum object_kind kind;
    /* Bytes in the heap, this included. */
    size_t size;
    /* While the collector runs: where it has been moved to. */
    struct object *moved;
};

struct string {
    struct object object;
    size_t length;
    char bytes[];
};

/* The places of a list, which is given more of them as it grows. */
struct items {
    struct object object;
    size_t capacity;
    struct value values[];
};

struct list {
    struct object object;
    size_t length;
    struct items *items;
};

/* A Corella handle. The collector closes what nothing refers to any more. */
struct handle {
    struct object object;
    corella_handle id;
    /* All handles of the heap are in one list, so that the collector finds those that died. */
    struct handle *next;
};

/* ---- The heap: touched on the machine's own thread alone --------------------------------------------------- */

struct heap {
    char *space;
    size_t used;
    size_t capacity;
    /* It grows up to this; beyond it programs get an exception. */
    size_t limit;
    struct handle *handles;
    pthread_t owner;
    int64_t collections;
};

int heap_begin(struct heap *heap, size_t limit);
void heap_end(struct heap *heap);
/* These may collect, and throw in `task` when there is no room. */
struct string *new_string(struct vm *vm, struct task *task, const char *bytes, size_t length);
struct string *new_empty_string(struct vm *vm, struct task *task, size_t length);
struct list *new_list(struct vm *vm, struct task *task);
struct handle *new_handle(struct vm *vm, struct task *task, corella_handle id);
/* Appends what is on top of the task's stack to the list below it, and takes it off. */
void append_to_list(struct vm *vm, struct task *task);

/* ---- Programs ------------------------------------------------------------------------------------------------ */

enum opcode {
    OP_PUSH_NUMBER, OP_PUSH_TEXT, OP_PUSH_NIL, OP_DROP, OP_COPY, OP_LOAD, OP_STORE, OP_LOAD_GLOBAL, OP_STORE_GLOBAL,
    OP_ADD, OP_SUBTRACT, OP_LESS, OP_EQUAL, OP_JUMP, OP_JUMP_UNLESS, OP_CALL, OP_SPAWN, OP_RETURN, OP_TRY, OP_END_TRY,
    OP_THROW, OP_NATIVE
};

struct instruction {
    enum opcode opcode;
    /* A number, local, global, text, instruction, function or native, as the opcode says. */
    int64_t operand;
    int line;
};

struct function {
    char *name;
    int arguments;
    int locals;
    int64_t start;
};

struct program {
    struct instruction *code;
    size_t length;
    struct function *functions;
    size_t function_count;
    /* The texts in it. They are copied into the heap when they are pushed. */
    char **texts;
    size_t text_count;
};

/* Says on stderr what is wrong with a program and answers 0. */
int program_read(struct program *program, const char *path);
void program_free(struct program *program);
int64_t find_function(const struct program *program, const char *name);

/* ---- Tasks ---------------------------------------------------------------------------------------------------- */

enum { STACK_MAX = 96, FRAMES_MAX = 16, HANDLERS_MAX = 8, GLOBALS_MAX = 16 };

enum task_state { TASK_READY, TASK_WAITING, TASK_ENDED };

/* What becomes of a request's outcome once it has settled: what the task finds on its stack. */
enum taking { TAKE_NIL, TAKE_COUNT, TAKE_HANDLE, TAKE_BYTES };

struct frame {
    const struct function *function;
    int64_t next;
    int base;
};

/* Where an exception goes on. */
struct handler {
    int64_t target;
    int frames;
    int height;
};

/*
 * A green task. Tasks do not move: requests and the ready list point to them. The collector finds its roots on their
 * stacks.
 */
struct task {
    struct vm *vm;
    enum task_state state;
    struct task *next_ready;
    /* Its place in the machine's table. */
    size_t place;
    struct value stack[STACK_MAX];
    int height;
    struct frame frames[FRAMES_MAX];
    int frame_count;
    struct handler handlers[HANDLERS_MAX];
    int handler_count;
    enum taking taking;
    /* Bytes that its request is lent: the library's, as objects of the heap move. Kept for the next request. */
    corella_buffer buffer;
    size_t buffer_length;
};

struct vm {
    corella_scheduler scheduler;
    corella_remote remote;
    struct heap heap;
    struct program program;
    struct value globals[GLOBALS_MAX];
    struct task **tasks;
    size_t task_count;
    size_t task_capacity;
    struct task *first_ready;
    struct task *last_ready;
    /* Instructions until the running task must let others run. */
    int budget;
    /* Corella has something to do. */
    int has_work;
    /* Where exceptions land, in whom, and what they say: plain C, as there may be no room in the heap. */
    jmp_buf landing;
    struct task *thrown_in;
    char message[512];
    int64_t safe_points;
    int64_t polls;
    int64_t exceptions;
    int uncaught;
    int argument_count;
    char **arguments;
};

/* A new task that calls a function with the `arguments` values on top of `from`'s stack (null: none), taken off it. */
struct task *task_begin(struct vm *vm, struct task *from, int64_t function, int arguments);
void task_end(struct vm *vm, struct task *task);
void make_ready(struct vm *vm, struct task *task);
/* Throws in `task`, from the interpreter and from callbacks alike: it jumps to the machine's loop. */
_Noreturn void throw_in(struct vm *vm, struct task *task, const char *format, ...);
/* Runs tasks until there are none. Answers 0, or 1 if an exception was caught by nobody. */
int vm_run(struct vm *vm);

void push(struct task *task, struct value value);
struct value pop(struct task *task);
struct value nil(void);
struct value number(int64_t number);
struct value object(void *object);
int64_t pop_number(struct task *task);
/* The string, list or handle so many places below the top of the stack: 0 is the top. */
struct string *string_at(struct task *task, int below);
struct list *list_at(struct task *task, int below);
struct handle *handle_at(struct task *task, int below);
/* Takes so many values off. */
void drop(struct task *task, int count);

/* ---- What programs call --------------------------------------------------------------------------------------- */

/* Its arguments are on the stack; it leaves one value there, at once or when its request has settled. */
typedef void (*native)(struct vm *vm, struct task *task);

struct native_entry {
    const char *name;
    int arguments;
    native call;
};

extern const struct native_entry NATIVES[];
extern const size_t NATIVE_COUNT;

#endif
