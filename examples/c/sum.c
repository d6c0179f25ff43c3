/*
 * Adds up the bytes of a large file with many reads in flight, without a callback: corella_next hands the reads out as they
 * settle, and each is told apart by its user data.
 *
 *     cc sum.c $(pkg-config --cflags --libs corella) -o sum
 *     ./sum /some/large/file
 */
#include <corella.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 16, READS = 32 };

static unsigned char pieces[READS][PIECE_BYTES];

static int failed(const char *why) {
    fprintf(stderr, "%s\n", why);
    return 1;
}

/* Begins to read the piece of the file at `offset`. */
static int begin(corella_handle file, unsigned char *piece, int64_t offset) {
    corella_request request;
    int code = corella_read_at(file, piece, PIECE_BYTES, offset, &request);
    if (code != CORELLA_OK) {
        return code;
    }
    corella_set_user_data(request, piece, 0);
    code = corella_enqueue(request);
    if (code != CORELLA_OK) {
        corella_free(request);
    }
    return code;
}

int main(int argc, char **argv) {
    corella_scheduler scheduler;
    corella_request request;
    corella_handle file;
    int64_t size, count, offset = 0, place;
    unsigned long long sum = 0;
    int running = 0;

    if (argc != 2 || corella_scheduler_new(NULL, &scheduler) != CORELLA_OK) {
        return failed("usage: sum FILE");
    }
    if (corella_open(scheduler, argv[1], strlen(argv[1]), CORELLA_READ, &request) != CORELLA_OK ||
        corella_finish_handle(request, &file) != CORELLA_OK || corella_stat_handle(file, &request) != CORELLA_OK ||
        corella_wait(request) != CORELLA_OK || corella_metadata(request, CORELLA_METADATA_SIZE, &size) != CORELLA_OK) {
        return failed(corella_last_error_text(NULL));
    }
    corella_free(request);
    for (; running < READS && offset < size; running++, offset += PIECE_BYTES) {
        if (begin(file, pieces[running], offset) != CORELLA_OK) {
            return failed(corella_last_error_text(NULL));
        }
    }
    while (corella_next(scheduler, -1, &request) == 1) {
        unsigned char *piece = corella_user_data(request);
        if (corella_result(request, &count) != CORELLA_OK) {
            return failed(corella_error_text(request, NULL));
        }
        corella_free(request);
        for (place = 0; place < count; place++) {
            sum += piece[place];
        }
        if (offset < size) {
            if (begin(file, piece, offset) != CORELLA_OK) {
                return failed(corella_last_error_text(NULL));
            }
            offset += PIECE_BYTES;
        }
    }
    printf("%llu\n", sum);
    corella_handle_free(file);
    return corella_scheduler_free(scheduler) == CORELLA_OK ? 0 : 1;
}
