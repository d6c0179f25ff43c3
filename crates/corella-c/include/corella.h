#ifndef CORELLA_H
#define CORELLA_H

#include <stddef.h>
#include <stdint.h>

/*
 * Corella: asynchronous I/O inside a virtual machine or a native program. Link with -lcorella; docs/EMBEDDING.md shows,
 * step by step, how to put it into an interpreter.
 *
 * IDS. Schedulers, handles, requests and the like are opaque numbers in the shape of pointers. They are never
 * dereferenced, so a null, stale or foreign one is an error (CORELLA_ERROR_INVALID_ID, _STALE_ID) and not a crash. A
 * scheduler and all that is made with it belong to one thread; elsewhere they answer CORELLA_ERROR_WRONG_THREAD, in a
 * forked child CORELLA_ERROR_WRONG_PROCESS. What is bound to no thread says so: settings, tokens, remotes, detached.
 * A forked child is told so of these too, settings apart.
 *
 * ANSWERS. Functions answer with an int: CORELLA_OK or a number that their comment explains, negative for a failure.
 * corella_last_error_text then has it in words. Places for answers may be null where the answer is not wanted, except
 * those for new ids. Strings are pointer and length and are copied; texts that come out also end with a NUL byte.
 *
 * REQUESTS. A function such as corella_read_at names an operation and makes a request, which does nothing yet. Options
 * may follow. Then one of four endings:
 *
 *   corella_wait      blocks.                         The request is yours; you free it. (corella_finish: all in one.)
 *   corella_submit    corella_status says how it      The request is yours; you free it.
 *                     stands.
 *   corella_then      a callback, inside              The request is lent to the callback; the library frees it when the
 *                     corella_run*, corella_wait.     scheduler is next turned, unless corella_keep makes it yours.
 *   corella_enqueue   corella_next hands it out.      The request is yours once handed out; you free it.
 *
 * Every request settles exactly once. Requests on one handle take effect as if run one at a time in the order they were
 * submitted; what cannot affect each other runs at once.
 *
 * MEMORY. Bytes that a request reads or writes are lent: from the ending until it has settled they must stay valid and in
 * place, and be touched by nobody else (bytes written out may be read). A buffer shorter than said is a defect of the
 * caller's that nothing here can see. Whoever cannot promise that, as with a collector that moves things, uses the
 * library's buffers.
 *
 * PANICS never get here: a defect inside becomes CORELLA_ERROR_DEFECT, and the scheduler is then unusable.
 */

/* It went well. */
#define CORELLA_OK 0

/* The operating system refused; `corella_os_code` has its code. */
#define CORELLA_ERROR_OS (-1)

/* It was cancelled: by `corella_cancel`, by its token, or by the close of its handle. */
#define CORELLA_ERROR_CANCELLED (-2)

/* Its deadline passed. */
#define CORELLA_ERROR_TIMED_OUT (-3)

/* The handle is closed, or being closed. */
#define CORELLA_ERROR_CLOSED (-4)

/* An earlier write on the same handle failed; this one was not started, so that the stream has no gap. */
#define CORELLA_ERROR_LANE_BROKEN (-5)

/* A limit set at start is reached; nothing was started, and the request may be given its ending again later. */
#define CORELLA_ERROR_REJECTED (-6)

/* The scheduler has been shut down. */
#define CORELLA_ERROR_SCHEDULER_GONE (-7)

/* This is a forked child of the process that made the scheduler. */
#define CORELLA_ERROR_WRONG_PROCESS (-8)

/* The arguments cannot be right; nothing was done. */
#define CORELLA_ERROR_INVALID_INPUT (-9)

/* The end came before all the bytes that were asked for. */
#define CORELLA_ERROR_UNEXPECTED_END (-10)

/* A name could not be resolved. */
#define CORELLA_ERROR_NAME_NOT_RESOLVED (-11)

/* It is in use: requests in flight, other clones, or bytes lent to a request. */
#define CORELLA_ERROR_BUSY (-12)

/* A null id, a number that never was an id, or the id of another kind of thing. */
#define CORELLA_ERROR_INVALID_ID (-13)

/* The id was valid once; what it named has been freed. */
#define CORELLA_ERROR_STALE_ID (-14)

/* The scheduler of this id belongs to another thread. */
#define CORELLA_ERROR_WRONG_THREAD (-15)

/* The handle cannot do this: a file that is asked to accept, a socket that is asked to seek. */
#define CORELLA_ERROR_WRONG_KIND (-16)

/* The request is not in the state for this: an ending for one that has its ending already, an option for one that runs. */
#define CORELLA_ERROR_WRONG_STATE (-17)

/* The request has not settled, so there is no outcome to look at. */
#define CORELLA_ERROR_NOT_SETTLED (-18)

/* The outcome has nothing of the sort, or it was taken before. */
#define CORELLA_ERROR_NOTHING_TO_TAKE (-19)

/* The caller's array is too short for the answer. */
#define CORELLA_ERROR_TOO_SHORT (-20)

/* A defect inside Corella was caught. The scheduler is unusable from now on and answers everything with this. */
#define CORELLA_ERROR_DEFECT (-21)

/* The version that this header belongs to; compare with `corella_version`. */
#define CORELLA_VERSION 1000

/* The machine's best backend, or the one that the environment variable CORELLA_BACKEND names. */
#define CORELLA_BACKEND_BEST 0

/* io_uring (Linux). */
#define CORELLA_BACKEND_URING 1

/* Readiness for sockets and pipes, and a bounded pool of threads for files. */
#define CORELLA_BACKEND_PORTABLE 2

/* An I/O completion port (Windows). */
#define CORELLA_BACKEND_IOCP 3

/* One of CORELLA_BACKEND_BEST and its kin. */
#define CORELLA_SETTING_BACKEND 0

/* Requests at once at most; 65536 at first. */
#define CORELLA_SETTING_QUEUE_DEPTH 1

/* Places in io_uring's submission ring; 256 at first. */
#define CORELLA_SETTING_RING_ENTRIES 2

/* Threads of the pool at most; 8 at first. */
#define CORELLA_SETTING_POOL_THREADS 3

/* Work from other threads that may wait at once; 65536 at first. */
#define CORELLA_SETTING_INBOX_JOBS 4

/* Sleeps at once at most; they do not count towards the queue's depth. */
#define CORELLA_SETTING_SLEEPS 5

/* Callbacks, direct ones apart, that are called before the scheduler looks for I/O again; 256 at first. */
#define CORELLA_SETTING_CALLBACKS_PER_TURN 6

/* The request never started. */
#define CORELLA_MOVED_NOTHING 0

/* It started, and exactly the count of bytes moved. */
#define CORELLA_MOVED_EXACTLY 1

/* It started, and the OS cannot say how much it did. */
#define CORELLA_MOVED_UNKNOWN 2

/* What it is: one of CORELLA_KIND_FILE and its kin. */
#define CORELLA_METADATA_KIND 0

/* Its length in bytes. */
#define CORELLA_METADATA_SIZE 1

/* Permission bits, as in chmod(2). */
#define CORELLA_METADATA_PERMISSIONS 2

/* When its content last changed, in nanoseconds since 1970. */
#define CORELLA_METADATA_MODIFIED_NS 3

/* When it was last read, as far as the file system keeps that, in nanoseconds since 1970. */
#define CORELLA_METADATA_ACCESSED_NS 4

/* When it was made, in nanoseconds since 1970; CORELLA_ERROR_NOTHING_TO_TAKE where nobody knows. */
#define CORELLA_METADATA_CREATED_NS 5

/* How many names it has. */
#define CORELLA_METADATA_LINKS 6

/* The file system's number for it. */
#define CORELLA_METADATA_INODE 7

/* The device that it is on. */
#define CORELLA_METADATA_DEVICE 8

/* Its owner. */
#define CORELLA_METADATA_USER 9

/* Its group. */
#define CORELLA_METADATA_GROUP 10

/* Bytes taken on the device. */
#define CORELLA_METADATA_ALLOCATED 11

/* A regular file. */
#define CORELLA_KIND_FILE 1

/* A directory. */
#define CORELLA_KIND_DIRECTORY 2

/* A symbolic link. */
#define CORELLA_KIND_SYMBOLIC_LINK 3

/* A pipe or FIFO. */
#define CORELLA_KIND_PIPE 4

/* A socket. */
#define CORELLA_KIND_SOCKET 5

/* A character device, such as a terminal. */
#define CORELLA_KIND_CHARACTER_DEVICE 6

/* A block device. */
#define CORELLA_KIND_BLOCK_DEVICE 7

/* Something else, or not known. */
#define CORELLA_KIND_OTHER 8

/* For reading. */
#define CORELLA_READ 1

/* For writing. */
#define CORELLA_WRITE 2

/* For writing; every write goes to the end of the file as it then is, and positioned writes are refused. */
#define CORELLA_APPEND 4

/* Made if it does not exist. */
#define CORELLA_CREATE 8

/* Made, and an error if it exists. */
#define CORELLA_CREATE_NEW 16

/* Emptied. */
#define CORELLA_TRUNCATE 32

/* Past the page cache: buffers, offsets and lengths must be aligned to the device's blocks. */
#define CORELLA_DIRECT 64

/* Counted from the start. */
#define CORELLA_SEEK_START 0

/* Counted from the cursor. */
#define CORELLA_SEEK_CURRENT 1

/* Counted from the end. */
#define CORELLA_SEEK_END 2

/*
 * As a port: the text is an address of the Unix domain, and no IP address. It is a path; or, behind an "@", a name of
 * Linux's abstract namespace (a path that begins with one is written "./@"); or nothing, of a socket without a name.
 */
#define CORELLA_PORT_UNIX (-1)

/* No more receives. */
#define CORELLA_SHUTDOWN_READ 0

/* No more sends; the peer reads an end. Queued sends go out first. */
#define CORELLA_SHUTDOWN_WRITE 1

/* Both. */
#define CORELLA_SHUTDOWN_BOTH 2

/* The child has the same as this process, as at first. */
#define CORELLA_STREAM_INHERIT 0

/* A pipe, whose other end is a file of the child's handle: `corella_child_stream`. */
#define CORELLA_STREAM_PIPE 1

/* Nothing: reads end at once, writes go nowhere. */
#define CORELLA_STREAM_NULL 2

struct corella_buffer_opaque;

struct corella_detached_opaque;

struct corella_handle_opaque;

struct corella_pool_opaque;

struct corella_remote_opaque;

struct corella_request_opaque;

struct corella_scheduler_opaque;

struct corella_settings_opaque;

struct corella_token_opaque;

/* Names settings for a new scheduler. Not bound to a thread. */
typedef struct corella_settings_opaque *corella_settings;

/* Names a scheduler. A number, never dereferenced; it and everything made with it belong to one thread. */
typedef struct corella_scheduler_opaque *corella_scheduler;

/* Names a request: an operation that has not begun, runs, or has settled. */
typedef struct corella_request_opaque *corella_request;

/*
 * Called with a request that has settled, and what the host gave with it, on the thread of its scheduler and inside a
 * function that turns the scheduler.
 */
typedef void (*corella_callback)(corella_request request, void *user_data);

/* Names a cancel token. Not bound to a thread. */
typedef struct corella_token_opaque *corella_token;

/* Names bytes that the library owns. */
typedef struct corella_buffer_opaque *corella_buffer;

/* Names a file, pipe, terminal, socket, listener or directory of a scheduler. */
typedef struct corella_handle_opaque *corella_handle;

/* Names a bounded pool of equal buffers. */
typedef struct corella_pool_opaque *corella_pool;

/* Names a scheduler for other threads. Not bound to a thread. */
typedef struct corella_remote_opaque *corella_remote;

/* Names a connection between two schedulers. Not bound to a thread. */
typedef struct corella_detached_opaque *corella_detached;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* ---- Versions and codes ---------------------------------------------------------------------------------- */

/*
 * The version of the library in use, as `major * 1000000 + minor * 1000 + patch`. A program compiled for
 * CORELLA_VERSION works with any library of the same major version (while that is 0: of the same minor version) that
 * is not older.
 */
int corella_version(void);

/* The version as text, such as "0.1.0". Lives as long as the program. */
const char *corella_version_text(void);

/*
 * A code's name, such as "CORELLA_ERROR_TIMED_OUT"; "CORELLA_ERROR_UNKNOWN" for a number that is no code. Lives as long
 * as the program.
 */
const char *corella_code_name(int code);

/* What a code means, in words. Lives as long as the program. */
const char *corella_code_text(int code);

/* ---- The failure of a call, for the thread that made it -------------------------------------------------- */

/*
 * The code of the last call on this thread that failed by itself; `CORELLA_OK` if none has. A call that answers with how
 * a request ended has not failed by itself: ask the request.
 */
int corella_last_error(void);

/* The OS's code (`errno`, or the code of GetLastError) of that failure; 0 if the OS gave none. */
int corella_last_error_os_code(void);

/*
 * That failure in words: function or operation, target, reason, OS code. UTF-8, ends with a NUL byte; `length`, if not
 * null, is told its length in bytes without that. Valid until the next call on this thread that fails.
 */
const char *corella_last_error_text(size_t *length);

/* ---- Schedulers: settings, beginning, end ---------------------------------------------------------------- */

/* Makes settings, all as at first. Yours; free them with `corella_settings_free`. Not bound to a thread. */
int corella_settings_new(corella_settings *settings);

/* Changes one of them: `setting` is CORELLA_SETTING_QUEUE_DEPTH or one of its kin, `value` its number. */
int corella_settings_set(corella_settings settings, int setting, int value);

/* Frees settings. Schedulers made with them are not touched. */
int corella_settings_free(corella_settings settings);

/*
 * Starts a scheduler for the calling thread, which is from then on the only one that may use it and what is made with it.
 * `settings` may be null. Yours; free it with `corella_scheduler_free` on the same thread before that ends (otherwise it is
 * leaked). At most 1023 at once in a process.
 *
 * The first one sees to it that a write to a pipe without a reader is an error: if SIGPIPE has its default, which kills
 * the process, it gets a handler that does nothing.
 */
int corella_scheduler_new(corella_settings settings,
                          corella_scheduler *scheduler);

/*
 * Ends a scheduler in good order: cancels every request, waits until the OS has let go of all buffers, at most
 * `limit_ns` nanoseconds (negative: as long as it takes), and lets all settle. Afterwards their callbacks are still to be
 * run (`corella_run`), outcomes read and taken, everything freed; new requests answer CORELLA_ERROR_SCHEDULER_GONE. Then
 * `corella_scheduler_free`.
 *
 * CORELLA_ERROR_TIMED_OUT: the OS would not let go of some in time. `leaked`, if not null, is told how many; their memory,
 * the caller's too, must never be freed or used again.
 */
int corella_shutdown(corella_scheduler scheduler,
                     int64_t limit_ns,
                     int64_t *leaked);

/*
 * Ends a scheduler and frees it with everything made with it: requests are cancelled, and it waits until the OS has let go
 * of every buffer; no callback is called for them, and after it the caller's memory is lent to nobody. All its ids are
 * stale from then on. May be called in a callback.
 *
 * After a defect, or a shutdown that timed out, the memory is leaked instead, as nobody knows whether the OS still writes
 * to it; the answer is then CORELLA_ERROR_DEFECT or CORELLA_OK.
 */
int corella_scheduler_free(corella_scheduler scheduler);

/* Settles after `nanoseconds`, counted from its submission. It needs no place in the queue. */
int corella_sleep(corella_scheduler scheduler, int64_t nanoseconds, corella_request *request);

/*
 * Writes the time of the scheduler's clock, in nanoseconds from a start of its own: it only goes forward. What deadlines
 * and sleeps are measured by.
 */
int corella_now_ns(corella_scheduler scheduler,
                   int64_t *now);

/* ---- What a scheduler knows of itself -------------------------------------------------------------------- */

/* The backend in use: CORELLA_BACKEND_URING or one of its kin. */
int corella_backend(corella_scheduler scheduler);

/*
 * Why it is that one, in words, such as what the kernel refused; null on failure. Valid until the next call of this
 * function on this thread.
 */
const char *corella_backend_reason(corella_scheduler scheduler,
                                   size_t *length);

/*
 * What io_uring has on this machine, in words: set-up flags, places in its rings, and the operations that the kernel lacks,
 * which the portable backend does; null where another backend is in use. Valid until the next call of this function on
 * this thread.
 */
const char *corella_kernel_features(corella_scheduler scheduler,
                                    size_t *length);

/* How many failures nobody took so far: of requests freed while they ran, of handles closed by being freed. */
int64_t corella_unobserved_failures(corella_scheduler scheduler);

/*
 * Has each of those told from now on: as a settled request with the failure, this callback, user data and tag; with a null
 * callback `corella_next` hands it out. Without this call they are only counted.
 */
int corella_on_unobserved(corella_scheduler scheduler,
                          corella_callback callback,
                          void *user_data,
                          int tag);

/*
 * Makes a list of the engine's requests in flight, oldest first, and answers with how many there are; the two functions
 * below look at it until the next call of this one. For a look from outside: it allocates.
 */
int corella_outstanding(corella_scheduler scheduler);

/* Operation and target of the entry `index` (from 0) of that list; null if there is none. */
const char *corella_outstanding_text(corella_scheduler scheduler, int index, size_t *length);

/* For how many nanoseconds it had been in flight; negative if there is none. */
int64_t corella_outstanding_age_ns(corella_scheduler scheduler, int index);

/* ---- Requests: options, before the ending ---------------------------------------------------------------- */

/*
 * Cancels the request when it has not settled within `nanoseconds` of its submission, time in the queue included.
 * Negative: no deadline, as at first. Its outcome is then CORELLA_ERROR_TIMED_OUT, with what had moved.
 */
int corella_set_deadline_ns(corella_request request,
                            int64_t nanoseconds);

/* The same in milliseconds. */
int corella_set_deadline_ms(corella_request request, int milliseconds);

/* Cancels the request when `token` is cancelled, or at once if it is already. Freeing the token is not cancelling. */
int corella_set_token(corella_request request,
                      corella_token token);

/* Has the callback run before those that are not direct (`yes` 1), or among them (0, as at first). */
int corella_set_direct(corella_request request, int yes);

/*
 * Takes a positioned read or write of a file out of the order of its handle (`yes` 1): it runs beside anything but
 * barriers and the close, and the program answers for overlaps. CORELLA_ERROR_WRONG_STATE for other operations.
 */
int corella_set_unordered(corella_request request,
                          int yes);

/*
 * Sets what the request is told apart by; see `corella_user_data` and `corella_tag`. The library looks at neither.
 * `corella_then` sets the user data as well. Possible in every state.
 */
int corella_set_user_data(corella_request request,
                          void *user_data,
                          int tag);

/*
 * Sets the offset, length or duration of an operation that has one, for languages without 64-bit integers: `high`
 * are its upper, `low` its lower 32 bits.
 */
int corella_set_offset_pair(corella_request request,
                            int high,
                            int low);

/*
 * Adds `length` bytes at `data` to those that the request reads or writes, which makes it a vectored one: all parts in
 * the order they were added, the one given with the operation first. Lent like that one. Up to eight parts allocate
 * nothing once the request's place has been used for as many.
 */
int corella_add_part(corella_request request,
                     void *data,
                     size_t length);

/*
 * Has the request read or write `length` bytes of the library's buffer from its byte `start` on, instead of the
 * caller's memory. The buffer is lent until the request settles.
 */
int corella_set_buffer(corella_request request, corella_buffer buffer, size_t start, size_t length);

/* ---- Requests: the endings that turn nothing; `corella_wait` and `corella_next` are below ---------------- */

/*
 * Ending 2, ask: hands the request to the queue. Ask `corella_status` how it stands, or `corella_wait` for it; it is
 * yours, and you free it with `corella_free`.
 *
 * On failure nothing was started, and the request is as it was: after CORELLA_ERROR_REJECTED it may be submitted again.
 */
int corella_submit(corella_request request);

/*
 * Ending 3, a callback: hands the request to the queue and has `callback` called with it once it has settled; never
 * inside this call, always inside `corella_run`, `corella_run_once`, `corella_run_ready` or `corella_wait`, on this
 * thread, in completion order (direct ones before the others). `user_data` is handed on.
 *
 * The request is lent to the callback: the library frees it when the scheduler is next turned, at latest when the
 * callback has returned; `corella_keep` makes it yours. The callback may call anything, `corella_scheduler_free`
 * included, and may leave by longjmp. On failure as for `corella_submit`, and the callback is not called.
 *
 * Of a request that `corella_submit` was called for, running or settled, it changes the ending to this one.
 */
int corella_then(corella_request request,
                 corella_callback callback,
                 void *user_data);

/*
 * Ending 4, handed out: hands the request to the queue, for `corella_next` to give it back once it has settled. It is
 * yours then, and you free it with `corella_free`. For hosts that must not be called back. On failure as for
 * `corella_submit`.
 */
int corella_enqueue(corella_request request);

/* ---- Requests: asking, cancelling, freeing --------------------------------------------------------------- */

/* How a request stands: 1 done, 0 running (or not begun), negative: it failed, and the number is why. Turns nothing. */
int corella_status(corella_request request);

/*
 * Asks a request to stop. It settles all the same, once the OS has let go of its buffer, with what truly happened;
 * full success despite a cancel is success. After its end this does nothing. For other threads:
 * `corella_remote_cancel`, and tokens.
 */
int corella_cancel(corella_request request);

/*
 * Frees a request: its outcome, and what was not taken out of it (a handle is closed). One that has not begun is
 * forgotten. One that runs goes on by itself, its callback is not called, its failure goes to
 * `corella_on_unobserved`; the caller's memory stays lent until it has settled, which nobody will be told of.
 */
int corella_free(corella_request request);

/*
 * Makes the request that a callback was called with the caller's own, to be freed with `corella_free`. To be called
 * before the scheduler is turned again.
 */
int corella_keep(corella_request request);

/* What `corella_then` or `corella_set_user_data` gave the request; null if nothing did, and for an id that names none. */
void *corella_user_data(corella_request request);

/* The number that `corella_set_user_data` gave the request; 0 if it did not, and for an id that names none. */
int corella_tag(corella_request request);

/* ---- Turning the scheduler: callbacks, waits, handing out ------------------------------------------------ */

/*
 * Turns and calls callbacks until no request runs, or until `corella_stop`. CORELLA_OK then.
 *
 * A callback may leave this function by longjmp: what was settled and not delivered is delivered by the next call.
 * CORELLA_ERROR_SCHEDULER_GONE when a callback has freed the scheduler. Callbacks may run, wait and turn themselves.
 */
int corella_run(corella_scheduler scheduler);

/*
 * One turn: waits at most `limit_ns` nanoseconds (negative: as long as it takes) for something to happen, unless callbacks
 * are due already, and calls them. Answers 1 if there is more to do at once, 0 if not. Otherwise as `corella_run`.
 */
int corella_run_once(corella_scheduler scheduler,
                     int64_t limit_ns);

/* The same without waiting: for a VM's safe points, when `corella_has_work` says so. */
int corella_run_ready(corella_scheduler scheduler);

/*
 * Ending 1, wait: carries a request out, or waits for one that was submitted, and answers with how it ended: CORELLA_OK or
 * the code of its failure. On a regular file with nothing in its way this is the bare system call. The request is yours,
 * before and after: look at its outcome and free it with `corella_free`.
 *
 * Meanwhile it turns the scheduler and calls callbacks, so that a program that talks to itself does not hang. A callback
 * may leave it by longjmp: the request then stays submitted and its buffer lent. CORELLA_ERROR_STALE_ID when a callback
 * has freed the request.
 */
int corella_wait(corella_request request);

/*
 * Ending 1 in one call: waits, answers with how the request ended, writes its count to `count` (if not null) and frees it
 * with all that was not taken. Its failure in words is `corella_last_error_text` then.
 */
int corella_finish(corella_request request,
                   int64_t *count);

/* The same for an operation whose outcome has a handle, which it takes: yours. Null after a failure. */
int corella_finish_handle(corella_request request, corella_handle *handle);

/*
 * Ending 4: hands out the next request that was given to `corella_enqueue` and has settled: answers 1 and writes it to
 * `request`; it is yours. 0 and null when there is none within `limit_ns` nanoseconds, or, with a negative limit, when none
 * runs any more. Turns the scheduler and calls no callback: those wait for `corella_run` and its kin.
 */
int corella_next(corella_scheduler scheduler,
                 int64_t limit_ns,
                 corella_request *request);

/*
 * Makes `corella_run` return after the callback that is running, or at once when it is next called. For other threads:
 * `corella_remote_stop`.
 */
int corella_stop(corella_scheduler scheduler);

/* ---- Inside a VM's safe points and a foreign event loop -------------------------------------------------- */

/*
 * Whether `corella_run_ready` or `corella_next` would find something to do: 1 or 0. For a VM's safe points: a couple of
 * loads with io_uring, a countdown elsewhere. It may say 1 for nothing, and says 1 at latest on the sixteenth call after
 * there is work.
 */
int corella_has_work(corella_scheduler scheduler);

/*
 * The scheduler's own OS handle, for a foreign event loop: on Unix a descriptor that is readable when `corella_run_ready`
 * has work, on Windows a handle that can be waited for. It stays the scheduler's. Call `corella_prepare_wait` before each
 * wait on it.
 */
int corella_os_handle(corella_scheduler scheduler,
                      intptr_t *os_handle);

/*
 * Hands over what is batched and tells `timeout_ms` how long a foreign event loop may wait on the OS handle: milliseconds,
 * rounded up, -1 for as long as it likes; in the form that epoll_wait and poll take. After the wait, however it ended,
 * `corella_run_ready` or `corella_next` with a limit of 0.
 */
int corella_prepare_wait(corella_scheduler scheduler,
                         int *timeout_ms);

/* The same in nanoseconds. */
int corella_prepare_wait_ns(corella_scheduler scheduler, int64_t *timeout_ns);

/* ---- Outcomes of settled requests ------------------------------------------------------------------------ */

/* How a settled request ended: CORELLA_OK, or the code of its failure. CORELLA_ERROR_NOT_SETTLED before that. */
int corella_code(corella_request request);

/* The OS's code of a request's failure (`errno`, or the code of GetLastError); 0 if the OS gave none. */
int corella_os_code(corella_request request);

/*
 * A settled request's count: bytes moved, for a failed transfer too; the place of a cursor; entries or addresses that
 * came; how a child ended. 0 for others, and for an id that names none.
 */
int64_t corella_count(corella_request request);

/* Code and count in one call: answers with the code and writes the count to its place. */
int corella_result(corella_request request, int64_t *count);

/* The same with the count's upper and lower 32 bits, for languages without 64-bit integers. */
int corella_result_pair(corella_request request, int *high, int *low);

/* What a settled transfer's count means: CORELLA_MOVED_NOTHING, _EXACTLY or _UNKNOWN. */
int corella_moved(corella_request request);

/*
 * A failure in words: operation with its numbers, target, reason, OS code. UTF-8, ends with a NUL byte; `length`, if not
 * null, is told its length in bytes without that. Valid until the request is freed; null if it has not settled.
 */
const char *corella_error_text(corella_request request,
                               size_t *length);

/*
 * Takes the handle out of the outcome of an open, accept, connect, directory's open or program's start. Yours, to be freed with
 * `corella_handle_free`. CORELLA_ERROR_NOTHING_TO_TAKE the second time.
 */
int corella_take_handle(corella_request request,
                        corella_handle *handle);

/*
 * Takes the buffer out of the outcome of a read or receive to the end, of a pooled receive, or of a link's reading. Yours,
 * to be freed with `corella_buffer_free`. CORELLA_ERROR_NOTHING_TO_TAKE if there is none, or the second time.
 */
int corella_take_buffer(corella_request request,
                        corella_buffer *buffer);

/* Writes one field (CORELLA_METADATA_SIZE and its kin) of what a stat found to `value`. */
int corella_metadata(corella_request request, int field, int64_t *value);

/* The same as the value's upper and lower 32 bits. */
int corella_metadata_pair(corella_request request, int field, int *high, int *low);

/*
 * The name of the entry `index` (from 0) that `corella_read_entries` gave, as bytes of the OS's (on Windows UTF-8) with a
 * NUL byte at the end; null if there is none. Valid until the request is freed.
 */
const char *corella_entry_name(corella_request request,
                               int index,
                               size_t *length);

/* What that entry is, where the directory says so itself: CORELLA_KIND_FILE and its kin. */
int corella_entry_kind(corella_request request, int index);

/*
 * The IP address `index` (from 0) that `corella_resolve` found, as text with a NUL byte at the end; null if there is none.
 * Valid until the request is freed.
 */
const char *corella_address(corella_request request,
                            int index,
                            size_t *length);

/* ---- Files, pipes and terminals -------------------------------------------------------------------------- */

/*
 * Opens the file at `path` (`length` bytes; on Windows UTF-8) with `flags`, a sum of CORELLA_READ and its kin. The
 * outcome has the handle: `corella_take_handle`. Regular files, block devices, FIFOs and character devices; a directory
 * is an error. The path is copied. Without an order among other operations on paths.
 */
int corella_open(corella_scheduler scheduler,
                 const char *path,
                 size_t length,
                 int flags,
                 corella_request *request);

/*
 * Sets the permissions (as in chmod(2)) of the file that a request by `corella_open` makes, before the process's mask;
 * 0666 (octal) at first. Without effect on Windows.
 */
int corella_set_permissions(corella_request request,
                            int permissions);

/* Reads what there is at the cursor, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the end. */
int corella_read(corella_handle file,
                 void *data,
                 size_t length,
                 corella_request *request);

/* Reads at `offset` bytes from the start, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the end. */
int corella_read_at(corella_handle file,
                    void *data,
                    size_t length,
                    int64_t offset,
                    corella_request *request);

/*
 * Reads exactly `length` bytes at the cursor to `data`. CORELLA_ERROR_UNEXPECTED_END, with the count of what came, if the
 * end is before that.
 */
int corella_read_exact(corella_handle file,
                       void *data,
                       size_t length,
                       corella_request *request);

/* Reads exactly `length` bytes at `offset` to `data`; otherwise as `corella_read_exact`. */
int corella_read_exact_at(corella_handle file,
                          void *data,
                          size_t length,
                          int64_t offset,
                          corella_request *request);

/*
 * Reads everything from the cursor to the end. The outcome has a buffer with it: `corella_take_buffer`, after a failure
 * too, with what came until then.
 */
int corella_read_to_end(corella_handle file,
                        corella_request *request);

/* Reads everything from `offset` to the end; otherwise as `corella_read_to_end`. */
int corella_read_to_end_at(corella_handle file, int64_t offset, corella_request *request);

/* Writes all `length` bytes at `data` at the cursor, or in append mode at the end. */
int corella_write(corella_handle file, const void *data, size_t length, corella_request *request);

/* Writes all `length` bytes at `data` at `offset`. CORELLA_ERROR_INVALID_INPUT in append mode. */
int corella_write_at(corella_handle file,
                     const void *data,
                     size_t length,
                     int64_t offset,
                     corella_request *request);

/*
 * Moves the cursor to `offset` bytes from `from` (CORELLA_SEEK_START, _CURRENT or _END), in turn with the other
 * operations at the cursor. The outcome's count is its place.
 */
int corella_seek(corella_handle file, int64_t offset, int from, corella_request *request);

/*
 * Makes everything written so far durable, attributes included; fsync(2). Waits for all before it on this handle and
 * holds back all after.
 */
int corella_sync(corella_handle file,
                 corella_request *request);

/* As `corella_sync`, without the attributes that reading does not need; fdatasync(2). */
int corella_sync_data(corella_handle file, corella_request *request);

/* Makes the file `length` bytes long. Waits for all before it and holds back all after. */
int corella_truncate(corella_handle file, int64_t length, corella_request *request);

/* Reserves `length` bytes from `offset`, growing the file; fallocate(2). The OS's error where a file system cannot. */
int corella_allocate(corella_handle file,
                     int64_t offset,
                     int64_t length,
                     corella_request *request);

/* Asks what the file system knows of an open file; see `corella_metadata`. */
int corella_stat_handle(corella_handle file, corella_request *request);

/* ---- Any handle ------------------------------------------------------------------------------------------ */

/* Settles when everything before it on this file or socket has, and holds back everything after. */
int corella_barrier(corella_handle handle, corella_request *request);

/*
 * Closes the handle for all its clones: queued writes go out first (within the deadline), reads, receives and accepts
 * are cancelled. The id stays yours, to be freed with `corella_handle_free`.
 */
int corella_close(corella_handle handle,
                  corella_request *request);

/* As `corella_close`, and queued writes are cancelled too. */
int corella_close_now(corella_handle handle, corella_request *request);

/*
 * Frees a handle's id. With the last clone the handle is closed in the background, as by `corella_close`; a failure of
 * that goes to `corella_on_unobserved`. Requests on it go on.
 */
int corella_handle_free(corella_handle handle);

/* A second id of the same file, socket or listener: they share its cursor and its order. Yours, to be freed. */
int corella_handle_clone(corella_handle handle, corella_handle *clone);

/* Whether a handle takes requests: 1 yes, 0 it is closed or being closed. */
int corella_is_open(corella_handle handle);

/* Whether a file has places to seek to and to read at: 1 for a regular file or block device that this process opened. */
int corella_can_seek(corella_handle file);

/* Where the next operation at a file's cursor goes, in bytes from the start, once those submitted have settled. */
int corella_cursor(corella_handle file, int64_t *cursor);

/*
 * The OS's handle of a file or socket (on Unix a descriptor), for a look with tools. It stays the library's.
 * CORELLA_ERROR_CLOSED once it is closed.
 */
int corella_handle_os_handle(corella_handle handle, intptr_t *os_handle);

/* Whether a file is a terminal: 1 or 0; 0 once it is closed. */
int corella_is_terminal(corella_handle file);

/*
 * Makes a pipe: what is written to `writer` is read from `reader`, whose end comes when the writer is closed. Both are
 * files, and yours. Does not block.
 */
int corella_pipe(corella_scheduler scheduler,
                 corella_handle *reader,
                 corella_handle *writer);

/* ---- Handles from outside, and back ---------------------------------------------------------------------- */

/* Hands out a standard stream as a file: 0 standard input, 1 standard output, 2 standard error. */
int corella_standard_stream(corella_scheduler scheduler, int number, corella_handle *file);

/*
 * Takes an OS handle (on Unix a descriptor) over as a file: anything that can be read or written, a pipe's end too. A
 * regular file goes on at its present cursor. Errors call it `name`. It is the library's from this call on and closed by
 * it, also when this fails, unless it was not an open OS handle at all.
 */
int corella_adopt_file(corella_scheduler scheduler,
                       intptr_t os_handle,
                       const char *name,
                       size_t name_length,
                       corella_handle *file);

/*
 * Hands a file's or socket's OS handle back: the caller's from then on, blocking, a file's cursor where the handle's was.
 * `received`, if not null, gets the bytes that had been received for abandoned requests, or null if there are none; they
 * are otherwise lost, and datagrams are lost in any case. The id is freed. CORELLA_ERROR_BUSY, and nothing done, while it
 * has clones or requests in flight.
 */
int corella_release(corella_handle handle,
                    intptr_t *os_handle,
                    corella_buffer *received);

/* ---- Paths and directories: no order among each other ---------------------------------------------------- */

/* Asks what `path` refers to, symbolic links followed; stat(2). See `corella_metadata`. */
int corella_stat(corella_scheduler scheduler, const char *path, size_t length, corella_request *request);

/* Asks what `path` itself is, a symbolic link not followed; lstat(2). See `corella_metadata`. */
int corella_stat_link(corella_scheduler scheduler, const char *path, size_t length, corella_request *request);

/* Gives a file another name, replacing what has that name; rename(2). */
int corella_rename(corella_scheduler scheduler,
                   const char *from,
                   size_t from_length,
                   const char *to,
                   size_t to_length,
                   corella_request *request);

/* Removes a file's name; unlink(2). */
int corella_unlink(corella_scheduler scheduler, const char *path, size_t length, corella_request *request);

/* Makes a directory; mkdir(2). */
int corella_make_directory(corella_scheduler scheduler,
                           const char *path,
                           size_t length,
                           corella_request *request);

/* Removes an empty directory; rmdir(2). */
int corella_remove_directory(corella_scheduler scheduler,
                             const char *path,
                             size_t length,
                             corella_request *request);

/* Makes the names in a directory durable: what was made, renamed and removed in it so far. */
int corella_sync_directory(corella_scheduler scheduler,
                           const char *path,
                           size_t length,
                           corella_request *request);

/* Gives a file a second name; link(2). */
int corella_hard_link(corella_scheduler scheduler,
                      const char *from,
                      size_t from_length,
                      const char *to,
                      size_t to_length,
                      corella_request *request);

/* Makes `path` a symbolic link to `content`; symlink(2). */
int corella_symbolic_link(corella_scheduler scheduler,
                          const char *content,
                          size_t content_length,
                          const char *path,
                          size_t path_length,
                          corella_request *request);

/* Reads the content of a symbolic link; readlink(2). The outcome has it as a buffer: `corella_take_buffer`. */
int corella_read_link(corella_scheduler scheduler, const char *path, size_t length, corella_request *request);

/* Opens a directory to read its names. The outcome has the handle: `corella_take_handle`. */
int corella_open_directory(corella_scheduler scheduler,
                           const char *path,
                           size_t length,
                           corella_request *request);

/*
 * Reads the next names of a directory, up to a few hundred, in no particular order, without "." and "..". The outcome's
 * count is how many, 0 at the end: `corella_entry_name`.
 */
int corella_read_entries(corella_handle directory,
                         corella_request *request);

/* Has a directory start again from the first name. */
int corella_rewind(corella_handle directory);

/* ---- Connections: TCP and the Unix domain; listeners, names ---------------------------------------------- */

/*
 * Listens for TCP connections on the IP address in the text `ip` (`length` bytes) and `port`; port 0 has the OS choose
 * one, see `corella_local_address`. The address may be bound again right after its last user. With CORELLA_PORT_UNIX listens
 * at a path, at which it makes a file that must not be there yet and that only the program removes. Does not block.
 */
int corella_listen(corella_scheduler scheduler,
                   const char *ip,
                   size_t length,
                   int port,
                   corella_handle *listener);

/* Accepts one connection. The outcome has the socket: `corella_take_handle`. */
int corella_accept(corella_handle listener, corella_request *request);

/*
 * Connects over TCP to `host`, an IP address or a name (`length` bytes, copied), which is resolved on the library's pool
 * of threads and whose addresses are tried in turn; with CORELLA_PORT_UNIX to a listener of the Unix domain. A deadline
 * covers it all. The outcome has the socket.
 */
int corella_connect(corella_scheduler scheduler,
                    const char *host,
                    size_t length,
                    int port,
                    corella_request *request);

/* Looks a name up on the library's pool of threads. The outcome's count is how many addresses it has: `corella_address`. */
int corella_resolve(corella_scheduler scheduler,
                    const char *name,
                    size_t length,
                    int port,
                    corella_request *request);

/*
 * Makes an unconnected TCP socket of the family of the IP address in `ip`, for what has to be set before it connects or
 * listens. Does not block.
 */
int corella_socket(corella_scheduler scheduler,
                   const char *ip,
                   size_t length,
                   corella_handle *socket);

/* Makes an unconnected socket of the Unix domain, for what has to be set before it connects or listens. Does not block. */
int corella_unix_socket(corella_scheduler scheduler,
                        corella_handle *socket);

/*
 * Makes two sockets that are connected to each other, to talk to a child process or within this one. Both yours. Does not
 * block.
 */
int corella_socket_pair(corella_scheduler scheduler,
                        corella_handle *one,
                        corella_handle *other);

/*
 * Connects a socket made by `corella_socket` to an IP address, or one by `corella_unix_socket` (CORELLA_PORT_UNIX). Sends
 * and receives submitted after it wait for it. For datagrams it makes the address the peer: where `corella_send_datagram`
 * goes to and the only one whose datagrams are received; it may be changed.
 */
int corella_socket_connect(corella_handle socket,
                           const char *ip,
                           size_t length,
                           int port,
                           corella_request *request);

/* Receives what there is, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the peer's end. */
int corella_receive(corella_handle socket,
                    void *data,
                    size_t length,
                    corella_request *request);

/* Receives exactly `length` bytes; CORELLA_ERROR_UNEXPECTED_END, with the count of what came, if the peer's end is before. */
int corella_receive_exact(corella_handle socket,
                          void *data,
                          size_t length,
                          corella_request *request);

/* Receives everything up to the peer's end. The outcome has a buffer with it: `corella_take_buffer`, after a failure too. */
int corella_receive_to_end(corella_handle socket,
                           corella_request *request);

/*
 * Receives what there is into a buffer of `pool`: `corella_take_buffer`, which goes back to the pool when it is freed. At
 * the peer's end the outcome has none. CORELLA_ERROR_REJECTED from the ending while all buffers are out, a wait included:
 * nothing is received then, and the peer is slowed down instead of this program's memory growing.
 */
int corella_receive_pooled(corella_handle socket,
                           corella_pool pool,
                           corella_request *request);

/* Sends all `length` bytes at `data`. Sends go out in the order they were submitted. */
int corella_send(corella_handle socket, const void *data, size_t length, corella_request *request);

/* Shuts a direction of a connection down: CORELLA_SHUTDOWN_READ, _WRITE (after the sends before it) or _BOTH. */
int corella_shut_down(corella_handle socket, int how, corella_request *request);

/*
 * Settles when a receive, or an accept of a listener, would find something: bytes, a datagram, a connection, an end or an
 * error. Nothing is taken by it.
 */
int corella_await_readable(corella_handle socket,
                           corella_request *request);

/* Settles when a send would find room, or an error. It waits for the sends before it. */
int corella_await_writable(corella_handle socket, corella_request *request);

/* ---- Sockets: calls that do not block -------------------------------------------------------------------- */

/* Gives an unconnected socket its own address. Does not block. */
int corella_bind(corella_handle socket, const char *ip, size_t length, int port);

/* Makes a bound socket a listener; its id is that of the listener from then on. Does not block. */
int corella_socket_listen(corella_handle socket);

/*
 * Writes the text of a socket's or listener's own IP address to `ip`, an array of `capacity` bytes, with a NUL byte at
 * its end, and its port to `port`; for one of the Unix domain its path or name, and CORELLA_PORT_UNIX. 64 bytes are enough
 * for any IP address, 112 for any path; CORELLA_ERROR_TOO_SHORT if it does not fit.
 */
int corella_local_address(corella_handle handle,
                          char *ip,
                          size_t capacity,
                          int *port);

/* The same for the other end of a connection. */
int corella_peer_address(corella_handle socket, char *ip, size_t capacity, int *port);

/*
 * Sends at once what there is room for of `length` bytes at `data`, and waits for nothing; `*sent` becomes how many bytes
 * went out. It is no request, and the bytes are the caller's again when it returns. 0 if nothing could be sent now: there is
 * no room, sends before it have not gone out, the handle is being closed, or the system has no such call (Windows). What has
 * not gone out is for `corella_send`; if that fails or is cancelled after a part went out here, the connection sends no more.
 */
int corella_try_send(corella_handle socket,
                     const void *data,
                     size_t length,
                     int64_t *sent);

/* Sends small writes at once (`yes` 1) instead of gathering them (TCP_NODELAY). */
int corella_set_no_delay(corella_handle socket, int yes);

/* Whether small writes go out at once: 1 or 0. */
int corella_no_delay(corella_handle socket);

/* Has the OS probe an idle connection (SO_KEEPALIVE), after `idle_seconds` if that is more than 0. */
int corella_set_keep_alive(corella_handle socket, int yes, int idle_seconds);

/*
 * What a close does with bytes not yet acknowledged (SO_LINGER): waits so many seconds; 0 resets the connection; negative
 * is the usual, in the background.
 */
int corella_set_linger(corella_handle socket,
                       int seconds);

/* Asks for a send buffer of so many bytes; the OS has the last word. */
int corella_set_send_buffer(corella_handle socket, size_t bytes);

/* Asks for a receive buffer of so many bytes; the OS has the last word. */
int corella_set_receive_buffer(corella_handle socket, size_t bytes);

/* How many routers a packet may pass (IP_TTL, IPv4): 1 to 255. */
int corella_set_time_to_live(corella_handle socket, int hops);

/* Lets an address be bound again right after its last user (SO_REUSEADDR): `yes` 1 or 0. */
int corella_set_reuse_address(corella_handle socket, int yes);

/* The socket's pending error as the OS's code, cleared by asking (SO_ERROR); 0 for none. Negative if it cannot be asked. */
int corella_take_socket_error(corella_handle socket);

/* ---- Datagrams: UDP, and messages of the Unix domain ----------------------------------------------------- */

/*
 * Makes a socket for datagrams at the address `ip` and `port`: UDP (port 0 has the OS choose one), or with
 * CORELLA_PORT_UNIX of the Unix domain. Yours, to be freed with `corella_handle_free`. Does not block.
 */
int corella_bind_datagrams(corella_scheduler scheduler,
                           const char *ip,
                           size_t length,
                           int port,
                           corella_handle *socket);

/*
 * Makes a socket for datagrams without an address, of the family of that in `ip` and `port`, for what has to be set before
 * it is bound (`corella_bind`) or connected (`corella_socket_connect`). Its first send gives it an address. Does not block.
 */
int corella_datagram_socket(corella_scheduler scheduler,
                            const char *ip,
                            size_t length,
                            int port,
                            corella_handle *socket);

/*
 * Makes two sockets for datagrams that are connected to each other, of the Unix domain: nothing is lost between them, and
 * a send waits for room. Both yours. The OS's error where it has no such sockets (Windows).
 */
int corella_datagram_pair(corella_scheduler scheduler,
                          corella_handle *one,
                          corella_handle *other);

/*
 * Takes an OS handle (on Unix a descriptor, on Windows a SOCKET) over as a socket for datagrams. It is the library's from
 * this call on and closed by it, also when this fails, unless it was not an open OS handle at all.
 */
int corella_adopt_datagrams(corella_scheduler scheduler,
                            intptr_t os_handle,
                            corella_handle *socket);

/*
 * Receives one datagram, of which up to `length` bytes go to `data`. The outcome's count is how many, which may be 0 for an
 * empty one; `corella_sender` says whose it is, `corella_is_truncated` whether the rest of it is lost. A connected socket is
 * also told here that nobody is at its peer's address.
 */
int corella_receive_datagram(corella_handle socket,
                             void *data,
                             size_t length,
                             corella_request *request);

/*
 * Sends `length` bytes at `data` as one datagram: to the address of `corella_set_destination`, and without that to the
 * peer that the socket is connected to. One that is too long for the network is the OS's error (EMSGSIZE), and nothing of
 * it is sent. Datagrams go out in the order they were submitted; UDP may lose, double and reorder them on the way.
 */
int corella_send_datagram(corella_handle socket,
                          const void *data,
                          size_t length,
                          corella_request *request);

/*
 * Sets where a request by `corella_send_datagram` sends to. The text is copied. CORELLA_ERROR_WRONG_STATE for other
 * operations.
 */
int corella_set_destination(corella_request request,
                            const char *ip,
                            size_t length,
                            int port);

/*
 * Writes who sent the datagram that a settled request received, as `corella_local_address` writes an address: an empty
 * text with CORELLA_PORT_UNIX for a sender of the Unix domain without a name. CORELLA_ERROR_NOTHING_TO_TAKE if the request
 * has received none.
 */
int corella_sender(corella_request request,
                   char *ip,
                   size_t capacity,
                   int *port);

/* Whether the datagram was longer than the memory that it was received to, so that its rest is lost: 1 or 0. */
int corella_is_truncated(corella_request request);

/*
 * Writes the datagram's own length in bytes, of which `corella_count` were received. CORELLA_ERROR_NOTHING_TO_TAKE if it
 * was cut and the system does not tell (all but Linux and Windows).
 */
int corella_datagram_size(corella_request request,
                          int64_t *size);

/* Lets a socket for datagrams send to all hosts of a network (SO_BROADCAST): `yes` 1 or 0. */
int corella_set_broadcast(corella_handle socket, int yes);

/* ---- Child processes: what is started, before the ending; then the child --------------------------------- */

/*
 * Starts the program at `program` (`length` bytes, copied; a name without a slash is looked for as the system does) once
 * the request is given its ending. Options below say with what. The outcome has the handle of the child:
 * `corella_take_handle`. A start that is cancelled may still take effect; then the process goes on by itself.
 */
int corella_start_program(corella_scheduler scheduler,
                          const char *program,
                          size_t length,
                          corella_request *request);

/* Adds an argument behind those that a program to be started has; the program's own name is not one of them. */
int corella_add_argument(corella_request request, const char *text, size_t length);

/*
 * Sets a variable in the environment of a program to be started, which is otherwise this process's; with a null `value`
 * takes it away.
 */
int corella_set_environment(corella_request request,
                            const char *name,
                            size_t name_length,
                            const char *value,
                            size_t value_length);

/* Has a program to be started begin with no environment but what `corella_set_environment` gives it. */
int corella_clear_environment(corella_request request);

/* Sets the directory that a program to be started begins in; this process's at first. */
int corella_set_directory(corella_request request, const char *path, size_t length);

/*
 * Sets what a standard stream (0 input, 1 output, 2 error output) of a program to be started is: CORELLA_STREAM_INHERIT,
 * _PIPE or _NULL.
 */
int corella_set_stream(corella_request request,
                       int stream,
                       int how);

/*
 * Gives a program to be started a file, pipe or terminal as standard stream `stream`. It begins `offset` bytes from the
 * start of a file, or with a negative `offset` at the handle's cursor, and moves a cursor of its own. The handle stays
 * yours and must be valid until the request has been given its ending; close a pipe's end afterwards, or its reader never
 * sees the end.
 */
int corella_set_stream_file(corella_request request,
                            int stream,
                            corella_handle file,
                            int64_t offset);

/*
 * Takes the other end of a child's standard stream (0 input, 1 output, 2 error output) that was set to be a pipe, as a
 * file. Yours, to be freed with `corella_handle_free`; what tells a filter that no more comes is closing its input.
 * CORELLA_ERROR_NOTHING_TO_TAKE if it was not to be a pipe, or the second time.
 */
int corella_child_stream(corella_handle child,
                         int stream,
                         corella_handle *file);

/*
 * Waits until a child ends; the outcome's count is its exit code, or on Unix the negative number of the signal that ended
 * it. May be asked again, by several at once, and after a cancel or deadline: the status is kept. Its pipes are not touched:
 * close the child's input and read its output first, or both sides wait for each other.
 */
int corella_exit_status(corella_handle child,
                        corella_request *request);

/* Writes the OS's number of a child. Once it has ended and was waited for the number may be another's. */
int corella_child_id(corella_handle child, int64_t *id);

/*
 * Ends a child at once (SIGKILL). One that has ended already stays as it is. Freeing a child's handle does not end it: it
 * goes on, and leaves no zombie when it ends.
 */
int corella_kill(corella_handle child);

/*
 * Sends a child a signal by its number. One that has ended already stays as it is. CORELLA_ERROR_INVALID_INPUT on Windows,
 * which has no signals.
 */
int corella_signal(corella_handle child,
                   int number);

/* ---- The library's buffers ------------------------------------------------------------------------------- */

/* Makes a buffer of `length` zero bytes (at least 1). Yours; free it with `corella_buffer_free`. */
int corella_buffer_new(corella_scheduler scheduler, size_t length, corella_buffer *buffer);

/*
 * The address of a buffer's bytes, or null for an id that names none. They stay there until it is freed. While a request
 * fills them they are not to be touched, while one writes them out they are only to be read.
 */
void *corella_buffer_data(corella_buffer buffer);

/* A buffer's length in bytes; 0 for an id that names none. One that came with an outcome is as long as what came. */
size_t corella_buffer_length(corella_buffer buffer);

/* Frees a buffer; one of a pool goes back to it. CORELLA_ERROR_BUSY while it is lent to a request that has not settled. */
int corella_buffer_free(corella_buffer buffer);

/*
 * Makes a bounded pool of at most `count` buffers of `length` bytes each, made as they are first needed, for
 * `corella_receive_pooled`: to receive from many connections with as many buffers as have bytes in them. Yours; free it
 * with `corella_pool_free`.
 */
int corella_pool_new(corella_scheduler scheduler,
                     int count,
                     size_t length,
                     corella_pool *pool);

/*
 * Takes a buffer out of a pool, to be filled by hand and sent; it goes back when it is freed. CORELLA_ERROR_REJECTED while
 * all are out.
 */
int corella_pool_take(corella_pool pool,
                      corella_buffer *buffer);

/* Frees a pool's name. Its buffers stay valid until each is freed. */
int corella_pool_free(corella_pool pool);

/* ---- Cancel tokens: from any thread ---------------------------------------------------------------------- */

/*
 * Makes a cancel token: one word that stops every request that was given it with `corella_set_token`, and every one that
 * will be, from any thread. Yours; free it with `corella_token_free`. Not bound to a thread or a scheduler.
 */
int corella_token_new(corella_token *token);

/* Cancels. The requests stop when their scheduler next turns; a second call does nothing. From any thread. */
int corella_token_cancel(corella_token token);

/* Whether a token has been cancelled: 1 or 0. From any thread. */
int corella_token_is_cancelled(corella_token token);

/* Frees a token's id, from any thread. That is not cancelling: requests that have it go on. */
int corella_token_free(corella_token token);

/* ---- Schedulers seen from other threads ------------------------------------------------------------------ */

/*
 * Makes an id of a scheduler for other threads. Yours; free it with `corella_remote_free`. It stays valid after the
 * scheduler's end and then answers CORELLA_ERROR_SCHEDULER_GONE.
 */
int corella_remote_new(corella_scheduler scheduler,
                       corella_remote *remote);

/*
 * Sends work to the scheduler's thread, from any thread: a request that has settled already, with this callback and user
 * data; with a null callback `corella_next` hands it out. CORELLA_ERROR_REJECTED when as many wait as
 * CORELLA_SETTING_INBOX_JOBS allows.
 */
int corella_remote_post(corella_remote remote,
                        corella_callback callback,
                        void *user_data,
                        int tag);

/*
 * Cancels a request of the scheduler, from any thread. Never needs room; after the request's end it does nothing.
 * CORELLA_ERROR_INVALID_ID for a request of another scheduler.
 */
int corella_remote_cancel(corella_remote remote,
                          corella_request request);

/* Makes the scheduler's current or next wait return, from any thread. */
int corella_remote_wake(corella_remote remote);

/* Makes `corella_run` return, from any thread, as `corella_stop` does from the scheduler's. */
int corella_remote_stop(corella_remote remote);

/* Frees a remote's id, from any thread. */
int corella_remote_free(corella_remote remote);

/* ---- Connections between schedulers ---------------------------------------------------------------------- */

/*
 * Takes a socket or listener out of its scheduler, with what it had received for abandoned requests, to be adopted by
 * another, on any thread. The handle's id is freed; the new one is yours: `corella_adopt`, or `corella_detached_free`, which
 * closes it. CORELLA_ERROR_BUSY, and nothing done, while the handle has clones or requests in flight.
 */
int corella_detach(corella_handle handle,
                   corella_detached *detached);

/* Takes a detached socket or listener over. Its id is freed. */
int corella_adopt(corella_scheduler scheduler, corella_detached detached, corella_handle *handle);

/* Closes a detached socket or listener, from any thread. */
int corella_detached_free(corella_detached detached);

/*
 * Takes an OS handle (on Unix a descriptor, on Windows a SOCKET) over as a connected TCP socket, or with `listens` 1 as a
 * listener. It is the library's from this call on and closed by it, also when this fails, unless it was not an open OS
 * handle at all.
 */
int corella_adopt_socket(corella_scheduler scheduler,
                         intptr_t os_handle,
                         int listens,
                         corella_handle *socket);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CORELLA_H */
