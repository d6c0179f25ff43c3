//! Nothing writes to a buffer that is free.

use std::alloc::{Layout, alloc, dealloc};
use std::time::Duration;

use corella::{BufferMut, Mode, OpenOptions, Parts, Scheduler};

use crate::promises;
use crate::setup::Setup;

promises![
    a_dropped_scheduler_with_device_reads_in_flight_never_has_their_buffers_written_once_they_are_free,
    a_panic_while_a_scheduler_ends_frees_no_buffer_that_a_device_has,
    a_leaked_scheduler_keeps_the_buffers_of_its_reads,
    a_scheduler_leaked_for_a_while_never_had_the_buffers_of_its_reads_freed,
    a_deadline_during_disk_reads_settles_with_what_happened_and_leaves_the_buffer_alone_after,
    dropped_and_forgotten_futures_leave_their_buffers_to_the_queue,
];

const ALIGNMENT: usize = 4096;
const POISON: u8 = 0xa5;

/// Memory that tells when it is free: poisoned then, kept a while, and looked at again.
struct Guarded {
    pointer: *mut u8,
    layout: Layout,
    graveyard: Graveyard,
}

#[derive(Clone, Default)]
struct Graveyard(std::rc::Rc<std::cell::RefCell<Vec<(usize, Layout)>>>);

impl Graveyard {
    fn buffer(&self, bytes: usize) -> Guarded {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).unwrap();
        // SAFETY: the layout has a size.
        let pointer = unsafe { alloc(layout) };
        assert!(!pointer.is_null());
        // SAFETY: just allocated with that size.
        unsafe { pointer.write_bytes(0, bytes) };
        Guarded { pointer, layout, graveyard: self.clone() }
    }

    /// Whether nobody wrote to what was given up; frees it.
    fn is_untouched(&self) -> bool {
        self.0.take().into_iter().all(|(pointer, layout)| {
            let pointer = pointer as *mut u8;
            // SAFETY: poisoned when it was given up, and freed only below.
            let bytes = unsafe { std::slice::from_raw_parts(pointer, layout.size()) };
            let untouched = bytes.iter().all(|byte| *byte == POISON);
            // SAFETY: allocated with this layout, and given up once.
            unsafe { dealloc(pointer, layout) };
            untouched
        })
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the memory is this value's, and nobody else's from here on.
        unsafe { self.pointer.write_bytes(POISON, self.layout.size()) };
        self.graveyard.0.borrow_mut().push((self.pointer as usize, self.layout));
    }
}

// SAFETY: the memory is on the heap, initialised, and owned by the value alone.
unsafe impl BufferMut for Guarded {
    fn target_parts(&mut self, parts: &mut Parts) {
        parts.push(self.pointer, self.layout.size());
    }
}

/// A file on a device that takes direct reads; nothing where the folder's file system does not.
fn direct_file(setup: &Setup) -> std::path::PathBuf {
    let path = setup.path("direct");
    std::fs::write(&path, vec![7; 8 << 20]).unwrap();
    path
}

fn submit_reads(scheduler: &Scheduler, path: &std::path::Path, graveyard: &Graveyard, round: usize) -> usize {
    let io = scheduler.io();
    let file = io.open(path, OpenOptions::new().read(true).direct(true)).wait().unwrap();
    let bytes = 4096 << (round % 11);
    let count = if bytes > 1 << 20 { 2 } else { 8 };
    for number in 0..count {
        let read = file.read_at(graveyard.buffer(bytes), (number * 4096) as u64);
        drop(read.unordered().submit().unwrap());
    }
    std::mem::forget(file);
    count
}

fn a_dropped_scheduler_with_device_reads_in_flight_never_has_their_buffers_written_once_they_are_free(setup: &Setup) {
    let path = direct_file(setup);
    for round in 0..1000 {
        let graveyard = Graveyard::default();
        let mut scheduler = setup.scheduler();
        let count = submit_reads(&scheduler, &path, &graveyard, round);
        scheduler.poll().unwrap();
        drop(scheduler);
        assert_eq!(graveyard.len(), count, "every buffer is free when the scheduler is");
        // The device may take its time to write where it must not.
        if round % 50 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(graveyard.is_untouched(), "round {round}");
    }
}

/// Panics when it is dropped.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a destructor");
    }
}

fn a_panic_while_a_scheduler_ends_frees_no_buffer_that_a_device_has(setup: &Setup) {
    let path = direct_file(setup);
    for round in 0..200 {
        let graveyard = Graveyard::default();
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        if round % 2 == 0 {
            let value = PanicsWhenDropped;
            let future = async move {
                std::future::pending::<()>().await;
                drop(value);
            };
            drop(io.spawn(future).unwrap());
        } else {
            io.sleep(Duration::from_secs(99)).then(|_| panic!("a callback")).unwrap();
        }
        let count = submit_reads(&scheduler, &path, &graveyard, round);
        scheduler.poll().unwrap();
        let ending = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match round % 2 {
            0 => drop(scheduler),
            _ => scheduler.shutdown(Duration::from_secs(60)).unwrap(),
        }));
        assert!(ending.is_err());
        assert_eq!(graveyard.len(), count, "every buffer is free when the scheduler is");
        if round % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(graveyard.is_untouched(), "round {round}");
    }
}

fn a_leaked_scheduler_keeps_the_buffers_of_its_reads(setup: &Setup) {
    let path = direct_file(setup);
    for round in 0..20 {
        let graveyard = Graveyard::default();
        let mut scheduler = setup.scheduler();
        submit_reads(&scheduler, &path, &graveyard, round);
        scheduler.poll().unwrap();
        // What had settled by then was detached, and is free.
        let freed = graveyard.len();
        std::mem::forget(scheduler);
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(graveyard.len(), freed, "a buffer in flight is free");
        assert!(graveyard.is_untouched());
    }
}

/// As forgotten as any while it lasts, and taken back so that a thousand of them do not fill the memory.
fn a_scheduler_leaked_for_a_while_never_had_the_buffers_of_its_reads_freed(setup: &Setup) {
    let path = direct_file(setup);
    for round in 0..1000 {
        let graveyard = Graveyard::default();
        let mut scheduler = std::mem::ManuallyDrop::new(setup.scheduler());
        let count = submit_reads(&scheduler, &path, &graveyard, round);
        scheduler.poll().unwrap();
        let freed = graveyard.len();
        // Nobody drives it, and the device writes on.
        if round % 10 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(graveyard.len(), freed, "a buffer in flight is free");
        assert!(graveyard.is_untouched());
        drop(std::mem::ManuallyDrop::into_inner(scheduler));
        assert_eq!(graveyard.len(), count - freed);
        assert!(graveyard.is_untouched(), "round {round}");
    }
}

fn a_deadline_during_disk_reads_settles_with_what_happened_and_leaves_the_buffer_alone_after(setup: &Setup) {
    let path = direct_file(setup);
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(&path, OpenOptions::new().read(true).direct(true)).wait().unwrap();
    let graveyard = Graveyard::default();
    let (mut late, mut stopped) = (0, 0);
    for round in 0..300u64 {
        let deadline = Duration::from_micros(round % 60 * 20);
        let start = std::time::Instant::now();
        let reads: Vec<_> = (0..4)
            .map(|part| file.read_at(graveyard.buffer(1 << 20), part << 20).deadline(deadline).submit().unwrap())
            .collect();
        for read in reads {
            match read.wait() {
                Ok((count, buffer)) => {
                    assert_eq!(count, 1 << 20);
                    // SAFETY: the buffer is this value's, filled, and nobody else's.
                    let bytes = unsafe { std::slice::from_raw_parts(buffer.pointer, count) };
                    assert!(bytes.iter().all(|byte| *byte == 7));
                    late += u32::from(start.elapsed() > deadline);
                }
                Err(failed) => {
                    assert_eq!(failed.error.kind(), corella::ErrorKind::TimedOut, "{failed}");
                    assert_eq!(failed.moved.bytes() % 4096, 0);
                    stopped += 1;
                }
            }
        }
        assert!(graveyard.is_untouched(), "round {round}");
    }
    // The port's double reads within the call that begins a read, where no deadline reaches it.
    let can_stop = cfg!(windows) || !setup.variant.is_of_port();
    assert!(late > 0 && (stopped > 0 || !can_stop), "{late} late and {stopped} stopped: too few to say anything");
}

fn dropped_and_forgotten_futures_leave_their_buffers_to_the_queue(setup: &Setup) {
    let path = direct_file(setup);
    // None is over at once: they are to be in flight.
    let mut scheduler = setup.builder().inline_reads(false).build().unwrap();
    let io = scheduler.io();
    let file = io.open(&path, OpenOptions::new().read(true).direct(true)).wait().unwrap();
    let plain = io.open(&path, Mode::Read).wait().unwrap();
    let graveyard = Graveyard::default();
    scheduler
        .block_on(async {
            for round in 0..1000usize {
                let bytes = 4096 << (round % 9);
                let mut dropped = file.read_at(graveyard.buffer(bytes), 0).unordered();
                let mut forgotten = plain.read_at(graveyard.buffer(4096), 0).unordered();
                std::future::poll_fn(|context| {
                    let _ = std::pin::Pin::new(&mut dropped).poll(context);
                    let _ = std::pin::Pin::new(&mut forgotten).poll(context);
                    std::task::Poll::Ready(())
                })
                .await;
                drop(dropped);
                if round % 100 == 0 {
                    std::mem::forget(forgotten);
                } else {
                    let _ = forgotten.await;
                }
                assert!(graveyard.is_untouched(), "round {round}");
            }
        })
        .unwrap();
}
