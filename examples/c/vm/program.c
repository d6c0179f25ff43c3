/*
 * From a program's text to instructions.
 *
 *     function NAME ARGUMENTS LOCALS    ; begins a function; its arguments are its first locals
 *     LABEL:                            ; within the function
 *         OPCODE OPERAND                ; see `OPCODES` below; anything else is the name of something in io.c
 */
#include "vm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum operand { NO_OPERAND, A_NUMBER, A_LABEL, A_FUNCTION };

static const struct {
    const char *name;
    enum opcode opcode;
    enum operand operand;
} OPCODES[] = {
    {"drop", OP_DROP, NO_OPERAND},
    {"copy", OP_COPY, NO_OPERAND},
    {"load", OP_LOAD, A_NUMBER},
    {"store", OP_STORE, A_NUMBER},
    {"load_global", OP_LOAD_GLOBAL, A_NUMBER},
    {"store_global", OP_STORE_GLOBAL, A_NUMBER},
    {"add", OP_ADD, NO_OPERAND},
    {"subtract", OP_SUBTRACT, NO_OPERAND},
    {"less", OP_LESS, NO_OPERAND},
    {"equal", OP_EQUAL, NO_OPERAND},
    {"jump", OP_JUMP, A_LABEL},
    {"jump_unless", OP_JUMP_UNLESS, A_LABEL},
    {"call", OP_CALL, A_FUNCTION},
    {"spawn", OP_SPAWN, A_FUNCTION},
    {"return", OP_RETURN, NO_OPERAND},
    {"try", OP_TRY, A_LABEL},
    {"end_try", OP_END_TRY, NO_OPERAND},
    {"throw", OP_THROW, NO_OPERAND},
};

/* A name that is known once all has been read. */
struct reference {
    char *name;
    size_t instruction;
    size_t function;
    enum operand operand;
};

struct label {
    char *name;
    int64_t target;
    size_t function;
};

struct reader {
    struct program *program;
    struct label *labels;
    size_t label_count;
    struct reference *references;
    size_t reference_count;
    const char *path;
    int line;
    int failed;
};

static void complain(struct reader *reader, const char *what, const char *name) {
    fprintf(stderr, "%s:%d: %s%s%s\n", reader->path, reader->line, what, *name == 0 ? "" : ": ", name);
    reader->failed = 1;
}

/* Room for one more at the end of an array; ends the program if there is no memory. */
static void *one_more(void *array, size_t count, size_t size) {
    array = realloc(array, (count + 1) * size);
    if (array == NULL) {
        fprintf(stderr, "no memory for the program\n");
        exit(1);
    }
    return array;
}

static char *copy_of(const char *text, size_t length) {
    char *copy = one_more(NULL, length, 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

static void emit(struct reader *reader, enum opcode opcode, int64_t operand) {
    struct program *program = reader->program;
    program->code = one_more(program->code, program->length, sizeof *program->code);
    program->code[program->length++] = (struct instruction){opcode, operand, reader->line};
}

static void refer(struct reader *reader, const char *name, enum operand operand) {
    struct reference reference = {copy_of(name, strlen(name)), reader->program->length,
                                  reader->program->function_count - 1, operand};
    reader->references = one_more(reader->references, reader->reference_count, sizeof reference);
    reader->references[reader->reference_count++] = reference;
}

static void add_label(struct reader *reader, const char *name, size_t length) {
    struct label label = {copy_of(name, length), (int64_t)reader->program->length,
                          reader->program->function_count - 1};
    reader->labels = one_more(reader->labels, reader->label_count, sizeof label);
    reader->labels[reader->label_count++] = label;
}

static void add_function(struct reader *reader, const char *rest) {
    struct program *program = reader->program;
    char name[64];
    struct function function = {NULL, 0, 0, (int64_t)program->length};
    if (sscanf(rest, "%63s %d %d", name, &function.arguments, &function.locals) != 3 || function.arguments < 0 ||
        function.locals < function.arguments || function.locals > STACK_MAX / 2) {
        complain(reader, "a function needs a name, its arguments and its locals", "");
        return;
    }
    function.name = copy_of(name, strlen(name));
    program->functions = one_more(program->functions, program->function_count, sizeof function);
    program->functions[program->function_count++] = function;
}

/* Text in quotes, with \n and \" as in C. */
static void add_text(struct reader *reader, const char *source) {
    struct program *program = reader->program;
    char *text = copy_of(source, strlen(source));
    size_t length = 0;
    for (source++; *source != '"' && *source != 0; source++) {
        if (*source == '\\' && source[1] != 0) {
            source++;
            text[length++] = *source == 'n' ? '\n' : *source;
        } else {
            text[length++] = *source;
        }
    }
    if (*source != '"') {
        complain(reader, "text without its end", "");
    }
    text[length] = 0;
    program->texts = one_more(program->texts, program->text_count, sizeof text);
    emit(reader, OP_PUSH_TEXT, (int64_t)program->text_count);
    program->texts[program->text_count++] = text;
}

static void add_push(struct reader *reader, const char *operand) {
    char *end;
    long long value = strtoll(operand, &end, 10);
    if (*operand == '"') {
        add_text(reader, operand);
    } else if (strncmp(operand, "nil", 3) == 0) {
        emit(reader, OP_PUSH_NIL, 0);
    } else if (end != operand) {
        emit(reader, OP_PUSH_NUMBER, value);
    } else {
        complain(reader, "not a number, text or nil", operand);
    }
}

static void add_native(struct reader *reader, const char *name) {
    for (size_t index = 0; index < NATIVE_COUNT; index++) {
        if (strcmp(NATIVES[index].name, name) == 0) {
            emit(reader, OP_NATIVE, (int64_t)index);
            return;
        }
    }
    complain(reader, "no such instruction", name);
}

static void add_instruction(struct reader *reader, const char *name, const char *rest) {
    char word[64] = "";
    sscanf(rest, "%63s", word);
    for (size_t index = 0; index < sizeof OPCODES / sizeof OPCODES[0]; index++) {
        if (strcmp(OPCODES[index].name, name) == 0) {
            if (OPCODES[index].operand == A_LABEL || OPCODES[index].operand == A_FUNCTION) {
                refer(reader, word, OPCODES[index].operand);
            }
            emit(reader, OPCODES[index].opcode, atoll(word));
            return;
        }
    }
    add_native(reader, name);
}

static void read_line(struct reader *reader, const char *line) {
    char name[64];
    int length = 0;
    while (isspace((unsigned char)*line)) {
        line++;
    }
    if (*line == 0 || *line == ';' || sscanf(line, "%63s%n", name, &length) != 1) {
        return;
    }
    line += length;
    while (isspace((unsigned char)*line)) {
        line++;
    }
    if (strcmp(name, "function") == 0) {
        add_function(reader, line);
    } else if (reader->program->function_count == 0) {
        complain(reader, "outside a function", name);
    } else if (name[length - 1] == ':') {
        add_label(reader, name, (size_t)length - 1);
    } else if (strcmp(name, "push") == 0) {
        add_push(reader, line);
    } else {
        add_instruction(reader, name, line);
    }
}

static int64_t find_label(const struct reader *reader, const struct reference *reference) {
    for (size_t index = 0; index < reader->label_count; index++) {
        const struct label *label = &reader->labels[index];
        if (label->function == reference->function && strcmp(label->name, reference->name) == 0) {
            return label->target;
        }
    }
    return -1;
}

int64_t find_function(const struct program *program, const char *name) {
    for (size_t index = 0; index < program->function_count; index++) {
        if (strcmp(program->functions[index].name, name) == 0) {
            return (int64_t)index;
        }
    }
    return -1;
}

static void resolve(struct reader *reader) {
    for (size_t index = 0; index < reader->reference_count; index++) {
        const struct reference *reference = &reader->references[index];
        struct instruction *instruction = &reader->program->code[reference->instruction];
        instruction->operand = reference->operand == A_LABEL ? find_label(reader, reference)
                                                             : find_function(reader->program, reference->name);
        if (instruction->operand < 0) {
            reader->line = instruction->line;
            complain(reader, "no such label or function", reference->name);
        }
    }
}

int program_read(struct program *program, const char *path) {
    struct reader reader = {.program = program, .path = path};
    char line[512];
    FILE *file = fopen(path, "r");
    memset(program, 0, sizeof *program);
    if (file == NULL) {
        perror(path);
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        reader.line += 1;
        read_line(&reader, line);
    }
    fclose(file);
    resolve(&reader);
    for (size_t index = 0; index < reader.label_count; index++) {
        free(reader.labels[index].name);
    }
    for (size_t index = 0; index < reader.reference_count; index++) {
        free(reader.references[index].name);
    }
    free(reader.labels);
    free(reader.references);
    if (!reader.failed && find_function(program, "main") < 0) {
        complain(&reader, "no function main", "");
    }
    return !reader.failed;
}

void program_free(struct program *program) {
    for (size_t index = 0; index < program->function_count; index++) {
        free(program->functions[index].name);
    }
    for (size_t index = 0; index < program->text_count; index++) {
        free(program->texts[index]);
    }
    free(program->functions);
    free(program->texts);
    free(program->code);
}
