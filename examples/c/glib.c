/*
 * Corella inside GLib's main loop, as a source of its own: it says in `prepare` how long the loop may sleep, the loop polls
 * its OS handle, and `dispatch` calls the callbacks. Reads the files named and ticks beside.
 *
 *     cc glib.c $(pkg-config --cflags --libs corella glib-2.0) -o glib
 *     ./glib FILE...
 */
#include <corella.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

struct corella_source {
    GSource source;
    corella_scheduler scheduler;
    gpointer tag;
};

static gboolean prepare(GSource *source, gint *timeout_ms) {
    struct corella_source *this = (struct corella_source *)source;
    return corella_prepare_wait(this->scheduler, timeout_ms) != CORELLA_OK || *timeout_ms == 0;
}

static gboolean check(GSource *source) {
    struct corella_source *this = (struct corella_source *)source;
    /* Readable, or one of its timers is due: it tells both apart by itself. */
    int timeout_ms = 0;
    return g_source_query_unix_fd(source, this->tag) != 0 ||
           corella_prepare_wait(this->scheduler, &timeout_ms) != CORELLA_OK || timeout_ms == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer user_data) {
    struct corella_source *this = (struct corella_source *)source;
    (void)callback;
    (void)user_data;
    return corella_run_ready(this->scheduler) >= 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static GSourceFuncs functions = {prepare, check, dispatch, NULL, NULL, NULL};

static GMainLoop *loop;
static int running;
static int ticks;

struct reading {
    const char *name;
    corella_handle file;
};

static void end(struct reading *reading) {
    if (reading->file != NULL) {
        corella_handle_free(reading->file);
    }
    g_free(reading);
    running--;
}

static void was_read(corella_request request, void *user_data) {
    struct reading *reading = user_data;
    int64_t count;
    if (corella_result(request, &count) == CORELLA_OK) {
        printf("%s: %lld bytes\n", reading->name, (long long)count);
    } else {
        printf("%s\n", corella_error_text(request, NULL));
    }
    end(reading);
}

static void was_opened(corella_request request, void *user_data) {
    struct reading *reading = user_data;
    corella_request next;
    if (corella_take_handle(request, &reading->file) != CORELLA_OK) {
        printf("%s\n", corella_error_text(request, NULL));
        end(reading);
    } else if (corella_read_to_end(reading->file, &next) != CORELLA_OK ||
               corella_then(next, was_read, reading) != CORELLA_OK) {
        printf("%s\n", corella_last_error_text(NULL));
        end(reading);
    }
}

static gboolean tick(gpointer unused) {
    (void)unused;
    ticks++;
    if (running == 0 && ticks > 3) {
        g_main_loop_quit(loop);
    }
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv) {
    struct corella_source *source = (struct corella_source *)g_source_new(&functions, sizeof *source);
    intptr_t os_handle;
    int index;
    if (corella_scheduler_new(NULL, &source->scheduler) != CORELLA_OK ||
        corella_os_handle(source->scheduler, &os_handle) != CORELLA_OK) {
        fprintf(stderr, "%s\n", corella_last_error_text(NULL));
        return 1;
    }
    source->tag = g_source_add_unix_fd(&source->source, (gint)os_handle, G_IO_IN);
    g_source_attach(&source->source, NULL);
    for (index = 1; index < argc; index++) {
        struct reading *reading = g_new0(struct reading, 1);
        corella_request request;
        reading->name = argv[index];
        if (corella_open(source->scheduler, argv[index], strlen(argv[index]), CORELLA_READ, &request) == CORELLA_OK &&
            corella_then(request, was_opened, reading) == CORELLA_OK) {
            running++;
        }
    }
    loop = g_main_loop_new(NULL, FALSE);
    g_timeout_add(1, tick, NULL);
    g_main_loop_run(loop);
    printf("the loop ticked beside\n");
    g_main_loop_unref(loop);
    g_source_destroy(&source->source);
    corella_scheduler_free(source->scheduler);
    g_source_unref(&source->source);
    return 0;
}
