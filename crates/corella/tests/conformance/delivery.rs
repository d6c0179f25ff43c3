//! Point 7: callbacks.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use corella::{Begun, ErrorKind, Mode};

use crate::promises;
use crate::setup::Setup;

promises![
    a_callback_never_runs_inside_then_though_the_operation_finished_at_once,
    callbacks_run_on_the_schedulers_thread_and_in_completion_order,
    direct_callbacks_run_before_the_ready_tasks,
    a_callback_may_submit_cancel_close_spawn_and_drop_handles,
    a_callback_never_runs_inside_another,
    a_panic_in_a_callback_leaves_run_and_loses_no_other,
    a_panic_in_a_task_leaves_run_and_is_told_to_who_joins,
    a_blocking_ending_inside_a_task_or_callback_is_refused_at_once,
    a_nested_run_is_refused,
    a_hosts_own_wait_is_a_bare_call_where_it_can_be_and_a_callback_where_not,
];

fn a_callback_never_runs_inside_then_though_the_operation_finished_at_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    for direct in [false, true] {
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        // An empty send, a barrier on an idle handle: done as they are submitted.
        let barrier = socket.barrier();
        let barrier = if direct { barrier.direct() } else { barrier };
        barrier.then(move |outcome| flag.set(outcome.is_ok())).unwrap();
        assert!(!ran.get());
        scheduler.run().unwrap();
        assert!(ran.get());
    }
}

fn callbacks_run_on_the_schedulers_thread_and_in_completion_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let here = std::thread::current().id();
    for direct in [false, true] {
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in [3u64, 1, 2] {
            let list = Rc::clone(&order);
            let sleep = io.sleep(Duration::from_millis(number * 20));
            let sleep = if direct { sleep.direct() } else { sleep };
            sleep
                .then(move |_| {
                    assert_eq!(std::thread::current().id(), here);
                    list.borrow_mut().push(number);
                })
                .unwrap();
        }
        scheduler.run().unwrap();
        assert_eq!(*order.borrow(), [1, 2, 3]);
    }
}

fn direct_callbacks_run_before_the_ready_tasks(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let order = Rc::new(RefCell::new(Vec::new()));
    let push = |what: &'static str| {
        let list = Rc::clone(&order);
        move || list.borrow_mut().push(what)
    };
    let (scheduled, direct, task) = (push("scheduled"), push("direct"), push("task"));
    socket.barrier().then(move |_| scheduled()).unwrap();
    socket.barrier().direct().then(move |_| direct()).unwrap();
    scheduler.turn(Duration::ZERO).unwrap();
    io.spawn(async move { task() }).unwrap();
    scheduler.run().unwrap();
    assert_eq!(*order.borrow(), ["direct", "scheduled", "task"]);
}

fn a_callback_may_submit_cancel_close_spawn_and_drop_handles(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, peer) = setup.connection(&io);
    let file = io.open(setup.path("data"), Mode::ReadWrite).wait().unwrap();
    let done = Rc::new(Cell::new(0));
    let pending = socket.recv(vec![0; 1]).submit().unwrap();
    let (inner, count) = (io.clone(), Rc::clone(&done));
    io.sleep(Duration::from_millis(1))
        .direct()
        .then(move |_| {
            let written = Rc::clone(&count);
            file.write("from a callback").then(move |outcome| written.set(written.get() + outcome.unwrap().0)).unwrap();
            pending.cancel();
            socket.close().then(|outcome| outcome.unwrap()).unwrap();
            inner.spawn(async move { count.set(count.get() + 100) }).unwrap();
            drop((file, socket, pending));
        })
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(done.get(), 115);
    assert_eq!(std::fs::read(setup.path("data")).unwrap(), b"from a callback");
    drop(peer);
}

fn a_callback_never_runs_inside_another(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let depth = Rc::new(Cell::new(0));
    fn again(socket: corella::Socket, depth: Rc<Cell<u32>>, left: u32) {
        assert_eq!(depth.replace(1), 0, "inside another");
        if left > 0 {
            let (next, inner) = (socket.clone(), Rc::clone(&depth));
            socket.barrier().direct().then(move |_| again(next, inner, left - 1)).unwrap();
        }
        depth.set(0);
    }
    again(socket, depth, 1000);
    scheduler.run().unwrap();
}

fn a_panic_in_a_callback_leaves_run_and_loses_no_other(setup: &Setup) {
    for direct in [false, true] {
        let mut scheduler = setup.scheduler();
        let (socket, _peer) = setup.connection(&scheduler.io());
        let ran = Rc::new(RefCell::new(Vec::new()));
        for number in 0..6 {
            let list = Rc::clone(&ran);
            let barrier = socket.barrier();
            let barrier = if direct { barrier.direct() } else { barrier };
            barrier
                .then(move |_| {
                    assert_ne!(number, 2, "on purpose");
                    list.borrow_mut().push(number);
                })
                .unwrap();
        }
        assert!(catch_unwind(AssertUnwindSafe(|| scheduler.run())).is_err());
        assert_eq!(*ran.borrow(), [0, 1]);
        scheduler.run().unwrap();
        assert_eq!(*ran.borrow(), [0, 1, 3, 4, 5]);
    }
}

fn a_panic_in_a_task_leaves_run_and_is_told_to_who_joins(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let bad = io.spawn(async { panic!("on purpose") }).unwrap();
    let good = io.spawn(async { 7 }).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| scheduler.run())).is_err());
    assert_eq!(scheduler.block_on(good).unwrap().unwrap(), 7);
    let bad: Result<(), _> = scheduler.block_on(bad).unwrap();
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Panicked);
}

fn a_blocking_ending_inside_a_task_or_callback_is_refused_at_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    let inside = file.clone();
    let task = io.spawn(async move { inside.read_at(vec![5; 1], 0).wait().unwrap_err() }).unwrap();
    let failed = scheduler.block_on(task).unwrap().unwrap();
    assert_eq!((failed.error.kind(), failed.buffer), (ErrorKind::WaitInsideTask, vec![5; 1]));
    let seen = Rc::new(Cell::new(None));
    let kind = Rc::clone(&seen);
    let sleep = io.sleep(Duration::ZERO);
    sleep.then(move |_| kind.set(Some(file.stat().wait().unwrap_err().kind()))).unwrap();
    scheduler.run().unwrap();
    assert_eq!(seen.get(), Some(ErrorKind::WaitInsideTask));
}

fn a_nested_run_is_refused(setup: &Setup) {
    let outer = Rc::new(RefCell::new(setup.scheduler()));
    // The scheduler inside one of its own tasks, as a host may hold it behind a pointer of its own.
    let pointer = outer.as_ptr();
    let task = outer
        .borrow()
        .spawn(async move {
            // SAFETY: not sound in general, which is what a host in another language does; these calls only look at
            // the scheduler's shared inside.
            let scheduler = unsafe { &mut *pointer };
            (scheduler.run().unwrap_err().kind(), scheduler.poll().unwrap_err().kind())
        })
        .unwrap();
    // SAFETY: as above; nobody else borrows it.
    let kinds = unsafe { &mut *pointer }.block_on(task).unwrap().unwrap();
    assert_eq!(kinds, (ErrorKind::NestedRun, ErrorKind::NestedRun));
}

fn a_hosts_own_wait_is_a_bare_call_where_it_can_be_and_a_callback_where_not(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("host-wait", b"hello"), Mode::Read).wait().unwrap();
    let begun = file.read_at(vec![0; 8], 0).finish_or_then(|_| panic!("it has finished"));
    match begun.unwrap() {
        Begun::Finished(outcome) => assert_eq!(outcome.unwrap().0, 5),
        Begun::Submitted(_) => panic!("a read of an idle file is one system call"),
    }

    let (socket, mut peer) = setup.connection(&io);
    let received = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&received);
    let recv = socket.recv(vec![0; 8]).direct();
    let begun = recv.finish_or_then(move |outcome| list.borrow_mut().push(outcome.unwrap().0));
    assert!(matches!(begun.unwrap(), Begun::Submitted(_)));
    scheduler.poll().unwrap();
    assert!(received.borrow().is_empty());
    peer.write_all(b"abc").unwrap();
    scheduler.run().unwrap();
    assert_eq!(*received.borrow(), [3]);
}
