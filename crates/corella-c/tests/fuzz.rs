//! A million calls of the C interface in random order, with ids that are right, stale, of another kind, or random.
//! Nothing may crash, panic, hang or call a scheduler unusable.

use std::any::TypeId;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use corella_c::*;

const CALLS: u64 = 1_000_000;
const SEED: u64 = 0x5eed_c0de_1234_5678;
/// Ids remembered of each kind, live and stale.
const IDS: usize = 16;
/// Memory that requests are lent; it outlives every scheduler.
static mut MEMORY: [u8; 1 << 16] = [0; 1 << 16];

/// xorshift64*: the same calls on every machine for one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}

/// Ids that were given out, by kind, the older ones overwritten.
struct Ids([Vec<*mut c_void>; 4]);

/// The kind that a function wants.
fn group<T: 'static>() -> usize {
    let wanted = TypeId::of::<T>();
    let groups = [TypeId::of::<SchedulerId>(), TypeId::of::<HandleId>(), TypeId::of::<RequestId>()];
    groups.iter().position(|group| *group == wanted).unwrap_or(3)
}

impl Ids {
    fn keep<T: 'static>(&mut self, random: &mut Random, place: MaybeUninit<*mut T>, code: c_int) {
        if code == CORELLA_OK {
            // SAFETY: a function that answers CORELLA_OK has written the id.
            let id = unsafe { place.assume_init() };
            self.0[group::<T>()][random.below(IDS as u64) as usize] = id.cast();
        }
    }

    /// Mostly an id of the kind that is wanted, live or stale; sometimes of another, one near it, random, or null.
    fn pick<T: 'static>(&self, random: &mut Random) -> *mut T {
        let choice = random.below(24);
        let group = if choice < 4 { random.below(4) as usize } else { group::<T>() };
        let id = self.0[group][random.below(IDS as u64) as usize];
        match choice {
            4 => null_mut(),
            5 => std::ptr::without_provenance_mut(random.next() as usize),
            6 => std::ptr::without_provenance_mut(id.addr() ^ (1 << random.below(64))),
            _ => id.cast(),
        }
    }
}

unsafe extern "C-unwind" fn callback(request: Request, user_data: *mut c_void) {
    // What callbacks like to do, stale ids included.
    let _ = (corella_code(request), corella_count(request), corella_free(user_data.cast()));
}

fn memory(random: &mut Random) -> (*mut c_void, usize) {
    let length = match random.below(16) {
        0 => usize::MAX,
        1 => 0,
        _ => random.below(4096) as usize,
    };
    match random.below(16) {
        0 => (null_mut(), length),
        // Within the memory, whatever is said of it; an enormous length is refused.
        _ => (((&raw mut MEMORY).cast::<u8>()).wrapping_add(random.below(1 << 15) as usize).cast(), length),
    }
}

#[test]
fn a_million_random_calls_break_nothing() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("file").to_str().unwrap().to_string();
    let mut random = Random(SEED);
    let mut ids = Ids(std::array::from_fn(|_| vec![null_mut(); IDS]));
    let mut defects = 0u64;
    let mut successes = 0u64;
    for call in 0..CALLS {
        let code = one_call(&mut random, &mut ids, &path);
        defects += u64::from(code == CORELLA_ERROR_DEFECT);
        successes += u64::from(code >= 0);
        assert_eq!(defects, 0, "call {call}, seed {SEED:#x}");
    }
    // A fuzz that only ever meets refusals tests nothing.
    assert!(successes > CALLS / 20, "{successes} of {CALLS} calls succeeded");
    println!("{successes} of {CALLS} calls succeeded");
}

fn one_call(random: &mut Random, ids: &mut Ids, path: &str) -> c_int {
    let mut request = MaybeUninit::<Request>::uninit();
    let mut handle = MaybeUninit::<Handle>::uninit();
    let mut buffer = MaybeUninit::<Buffer>::uninit();
    let (data, length) = memory(random);
    let offset = random.below(1 << 20) as i64 - 16;
    let text = path.as_ptr().cast();
    let kind = random.below(84);
    let code = match kind {
        0 if ids.0[0].iter().filter(|id| !id.is_null()).count() < 8 || random.below(100) == 0 => {
            let mut scheduler = MaybeUninit::<Scheduler>::uninit();
            let code = corella_scheduler_new(null_mut(), Some(&mut scheduler));
            ids.keep(random, scheduler, code);
            return code;
        }
        1 if random.below(100) == 0 => corella_scheduler_free(ids.pick(random)),
        // SAFETY: `text` is valid for its length.
        2..=4 => unsafe {
            corella_open(ids.pick(random), text, path.len(), random.below(128) as c_int, Some(&mut request))
        },
        5..=6 => corella_read_at(ids.pick(random), data, length, offset, Some(&mut request)),
        7..=8 => corella_write_at(ids.pick(random), data, length.min(4096), offset, Some(&mut request)),
        9 => corella_read(ids.pick(random), data, length, Some(&mut request)),
        10 => corella_seek(ids.pick(random), offset, random.below(4) as c_int, Some(&mut request)),
        11 => corella_truncate(ids.pick(random), offset & 0xffff, Some(&mut request)),
        12 => corella_stat_handle(ids.pick(random), Some(&mut request)),
        13..=14 => corella_sleep(ids.pick(random), offset, Some(&mut request)),
        15 => corella_close(ids.pick(random), Some(&mut request)),
        16 => corella_barrier(ids.pick(random), Some(&mut request)),
        17 => corella_accept(ids.pick(random), Some(&mut request)),
        18 => corella_receive(ids.pick(random), data, length, Some(&mut request)),
        19 => corella_send(ids.pick(random), data, length.min(4096), Some(&mut request)),
        // SAFETY: `text` is valid for its length.
        20 => unsafe { corella_stat(ids.pick(random), text, path.len(), Some(&mut request)) },
        // SAFETY: the address is valid for its length.
        21 => unsafe { corella_listen(ids.pick(random), c"127.0.0.1".as_ptr(), 9, 0, Some(&mut handle)) },
        22..=27 => corella_submit(ids.pick(random)),
        28..=30 => corella_then(ids.pick(random), Some(callback), ids.pick(random)),
        31..=32 => corella_enqueue(ids.pick(random)),
        33 => corella_set_deadline_ns(ids.pick(random), offset),
        34 => corella_set_direct(ids.pick(random), 1),
        35 => corella_set_unordered(ids.pick(random), 1),
        36 => corella_add_part(ids.pick(random), data, length),
        37 => corella_set_buffer(ids.pick(random), ids.pick(random), length & 63, length & 127),
        38..=40 => corella_run_ready(ids.pick(random)),
        41 => corella_next(ids.pick(random), 0, Some(&mut request)),
        42 => corella_run_once(ids.pick(random), 1000),
        43 => corella_cancel(ids.pick(random)),
        44..=46 => corella_free(ids.pick(random)),
        47 => corella_handle_free(ids.pick(random)),
        48..=49 => corella_take_handle(ids.pick(random), Some(&mut handle)),
        50 => corella_take_buffer(ids.pick(random), Some(&mut buffer)),
        51 => corella_buffer_new(ids.pick(random), length & 0xffff, Some(&mut buffer)),
        52 => corella_buffer_free(ids.pick(random)),
        53 => corella_handle_clone(ids.pick(random), Some(&mut handle)),
        54 => corella_read_to_end(ids.pick(random), Some(&mut request)),
        55 => corella_status(ids.pick(random)).max(-1),
        56 => corella_keep(ids.pick(random)),
        57 => corella_has_work(ids.pick(random)),
        58 => {
            let _ = corella_error_text(ids.pick(random), None);
            corella_is_open(ids.pick(random))
        }
        59 => corella_stop(ids.pick(random)),
        60..=62 => corella_receive_datagram(ids.pick(random), data, length, Some(&mut request)),
        63..=64 => corella_send_datagram(ids.pick(random), data, length.min(4096), Some(&mut request)),
        65 => corella_await_readable(ids.pick(random), Some(&mut request)),
        66 => corella_await_writable(ids.pick(random), Some(&mut request)),
        67 => corella_exit_status(ids.pick(random), Some(&mut request)),
        // SAFETY: the name of a program that there is not is valid for its length.
        68 => unsafe { corella_start_program(ids.pick(random), c"/nonexistent".as_ptr(), 12, Some(&mut request)) },
        // SAFETY: the address is valid for its length.
        69 => unsafe { corella_bind_datagrams(ids.pick(random), c"127.0.0.1".as_ptr(), 9, 0, Some(&mut handle)) },
        // SAFETY: as above.
        70 => unsafe { corella_datagram_socket(ids.pick(random), text, path.len(), -1, Some(&mut handle)) },
        71 => corella_unix_socket(ids.pick(random), Some(&mut handle)),
        72 => corella_child_stream(ids.pick(random), random.below(4) as c_int, Some(&mut handle)),
        73..=75 => return one_pair(random, ids, kind),
        // SAFETY: as above.
        76 => unsafe { corella_set_destination(ids.pick(random), c"127.0.0.1".as_ptr(), 9, 9) },
        // SAFETY: as above.
        77 => unsafe { corella_add_argument(ids.pick(random), text, path.len()) },
        78 => corella_set_stream(ids.pick(random), random.below(4) as c_int, random.below(4) as c_int),
        79 => corella_set_stream_file(ids.pick(random), random.below(4) as c_int, ids.pick(random), offset),
        80 => {
            let mut text = [0; 128];
            let capacity = random.below(128) as usize;
            // SAFETY: the array is at least that long.
            let code = unsafe { corella_sender(ids.pick(random), text.as_mut_ptr(), capacity, None) };
            code.min(corella_is_truncated(ids.pick(random)))
        }
        81 => corella_kill(ids.pick(random)),
        82 => corella_is_terminal(ids.pick(random)),
        _ => corella_pool_take(ids.pick(random), Some(&mut buffer)),
    };
    match kind {
        2..=20 | 54 | 60..=68 => ids.keep(random, request, code),
        41 if code == 1 => ids.keep(random, request, CORELLA_OK),
        21 | 48..=49 | 53 | 69..=72 => ids.keep(random, handle, code),
        50 | 51 | 83 => ids.keep(random, buffer, code),
        _ => {}
    }
    code
}

/// A pipe or pair of sockets.
fn one_pair(random: &mut Random, ids: &mut Ids, kind: u64) -> c_int {
    let (mut one, mut other) = (MaybeUninit::<Handle>::uninit(), MaybeUninit::<Handle>::uninit());
    let code = match kind {
        73 => corella_pipe(ids.pick(random), Some(&mut one), Some(&mut other)),
        74 => corella_socket_pair(ids.pick(random), Some(&mut one), Some(&mut other)),
        _ => corella_datagram_pair(ids.pick(random), Some(&mut one), Some(&mut other)),
    };
    ids.keep(random, one, code);
    ids.keep(random, other, code);
    code
}
