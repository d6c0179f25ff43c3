/*
 * The heap: one run of bytes that objects are cut from, and a collector that copies what is alive into a new one.
 *
 * Everything here belongs to the machine's thread. That needs no lock: Corella calls back on that thread only, and what
 * other threads have to say comes as such a call. `check_thread` would notice otherwise.
 */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 * 1024, ALIGNMENT = 16, FIRST_ITEMS = 8 };

static void check_thread(const struct heap *heap) {
    if (!pthread_equal(heap->owner, pthread_self())) {
        fprintf(stderr, "the heap was touched by another thread\n");
        abort();
    }
}

int heap_begin(struct heap *heap, size_t limit) {
    memset(heap, 0, sizeof *heap);
    heap->owner = pthread_self();
    heap->limit = limit;
    heap->capacity = limit < FIRST_CAPACITY ? limit : FIRST_CAPACITY;
    heap->space = malloc(heap->capacity);
    return heap->space != NULL;
}

void heap_end(struct heap *heap) {
    check_thread(heap);
    free(heap->space);
    heap->space = NULL;
}

/* ---- The collector --------------------------------------------------------------------------------------------- */

/* Moves an object into the new space, or finds where it was moved to. */
static struct object *move(struct object *old, char *space, size_t *used) {
    struct object *copy;
    if (old->moved != NULL) {
        return old->moved;
    }
    copy = (struct object *)(void *)(space + *used);
    memcpy(copy, old, old->size);
    *used += old->size;
    old->moved = copy;
    return copy;
}

static void move_value(struct value *value, char *space, size_t *used) {
    if (value->kind == KIND_OBJECT) {
        value->as.object = move(value->as.object, space, used);
    }
}

/* Moves what an object refers to. */
static void move_parts(struct object *object, char *space, size_t *used) {
    if (object->kind == OBJECT_LIST) {
        struct list *list = (struct list *)object;
        list->items = (struct items *)move(&list->items->object, space, used);
    } else if (object->kind == OBJECT_ITEMS) {
        struct items *items = (struct items *)object;
        for (size_t index = 0; index < items->capacity; index++) {
            move_value(&items->values[index], space, used);
        }
    }
}

/* Keeps the list of handles to those alive. Freeing the others closes them in the background and runs no code of ours. */
static void free_dead_handles(struct heap *heap) {
    struct handle *alive = NULL;
    for (struct handle *handle = heap->handles; handle != NULL; handle = handle->next) {
        struct handle *moved = (struct handle *)handle->object.moved;
        if (moved != NULL) {
            moved->next = alive;
            alive = moved;
        } else if (handle->id != NULL) {
            corella_handle_free(handle->id);
        }
    }
    heap->handles = alive;
}

/* Copies what is alive into a space of this capacity. Answers 0, with nothing changed, if there is no memory for it. */
static int collect(struct vm *vm, size_t capacity) {
    struct heap *heap = &vm->heap;
    char *space = malloc(capacity);
    size_t used = 0, scanned = 0;
    if (space == NULL) {
        return 0;
    }
    heap->collections += 1;
    for (size_t index = 0; index < GLOBALS_MAX; index++) {
        move_value(&vm->globals[index], space, &used);
    }
    for (size_t index = 0; index < vm->task_count; index++) {
        struct task *task = vm->tasks[index];
        for (int place = 0; place < task->height; place++) {
            move_value(&task->stack[place], space, &used);
        }
    }
    while (scanned < used) {
        struct object *object = (struct object *)(void *)(space + scanned);
        object->moved = NULL;
        move_parts(object, space, &used);
        scanned += object->size;
    }
    free_dead_handles(heap);
    free(heap->space);
    heap->space = space;
    heap->capacity = capacity;
    heap->used = used;
    return 1;
}

/* ---- Allocation ------------------------------------------------------------------------------------------------ */

static void *allocate(struct vm *vm, struct task *task, enum object_kind kind, size_t size) {
    struct heap *heap = &vm->heap;
    struct object *object;
    check_thread(heap);
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size > heap->limit) {
        throw_in(vm, task, "out of memory: %zu bytes", size);
    }
    if (heap->capacity - heap->used < size) {
        if (!collect(vm, heap->capacity)) {
            throw_in(vm, task, "out of memory");
        }
        /* What is alive fills more than half of it: time to grow. */
        if (heap->used + size > heap->capacity / 2 && heap->capacity < heap->limit) {
            size_t wanted = 2 * (heap->used + size);
            collect(vm, wanted < heap->limit ? wanted : heap->limit);
        }
        if (heap->capacity - heap->used < size) {
            throw_in(vm, task, "out of memory: %zu bytes, and %zu of %zu are used", size, heap->used, heap->limit);
        }
    }
    object = (struct object *)(void *)(heap->space + heap->used);
    heap->used += size;
    object->kind = kind;
    object->size = size;
    object->moved = NULL;
    return object;
}

struct string *new_empty_string(struct vm *vm, struct task *task, size_t length) {
    struct string *string = allocate(vm, task, OBJECT_STRING, sizeof *string + length);
    string->length = length;
    return string;
}

struct string *new_string(struct vm *vm, struct task *task, const char *bytes, size_t length) {
    struct string *string = new_empty_string(vm, task, length);
    if (length > 0) {
        memcpy(string->bytes, bytes, length);
    }
    return string;
}

static struct items *new_items(struct vm *vm, struct task *task, size_t capacity) {
    struct items *items = allocate(vm, task, OBJECT_ITEMS, sizeof *items + capacity * sizeof items->values[0]);
    items->capacity = capacity;
    for (size_t index = 0; index < capacity; index++) {
        items->values[index] = nil();
    }
    return items;
}

struct list *new_list(struct vm *vm, struct task *task) {
    struct list *list;
    /* On the stack, so that the collector sees them while the list is made. */
    push(task, object(new_items(vm, task, FIRST_ITEMS)));
    list = allocate(vm, task, OBJECT_LIST, sizeof *list);
    list->length = 0;
    list->items = (struct items *)pop(task).as.object;
    return list;
}

void append_to_list(struct vm *vm, struct task *task) {
    struct list *list = list_at(task, 1);
    if (list->length == list->items->capacity) {
        struct items *larger = new_items(vm, task, 2 * list->items->capacity);
        list = list_at(task, 1);
        memcpy(larger->values, list->items->values, list->length * sizeof larger->values[0]);
        list->items = larger;
    }
    list->items->values[list->length++] = pop(task);
}

struct handle *new_handle(struct vm *vm, struct task *task, corella_handle id) {
    struct handle *handle = allocate(vm, task, OBJECT_HANDLE, sizeof *handle);
    handle->id = id;
    handle->next = vm->heap.handles;
    vm->heap.handles = handle;
    return handle;
}
