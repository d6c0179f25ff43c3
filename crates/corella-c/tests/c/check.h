/* What the test programs share: checks that name the line, and the usual way to a scheduler. */
#ifndef CHECK_H
#define CHECK_H

#include <corella.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                   \
    do {                                                                                                   \
        if (!(condition)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,        \
                    corella_last_error_text(NULL));                                                        \
            exit(1);                                                                                       \
        }                                                                                                  \
    } while (0)

#define OK(call) CHECK((call) == CORELLA_OK)

/* The bytes of a string literal or array that ends with a NUL byte. */
#define STRING(text) (text), strlen(text)

static corella_scheduler scheduler_new(void) {
    corella_scheduler scheduler;
    OK(corella_scheduler_new(NULL, &scheduler));
    return scheduler;
}

#endif
