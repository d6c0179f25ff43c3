//! A scheduler's inbox, in the orders in which threads may come. The leg `threads` runs these, each also with a fault that
//! it must find.

use std::sync::Arc;

use corella::rehearsal::{Door, in_any_order, thread, with_fault};

use crate::ids::Key;
use crate::inbox::{Inbox, Post};

const SCHEDULER: u32 = 1;

fn post(tag: i32) -> Post {
    Post { callback: None, user_data: std::ptr::null_mut(), tag }
}

/// A scheduler with room for so much work, and what other threads have of it.
fn scheduler(posts_max: usize) -> (Door, Arc<Inbox>) {
    let door = Door::new();
    let inbox = Arc::new(Inbox::new(SCHEDULER, door.remote(), posts_max));
    (door, inbox)
}

#[test]
fn what_other_threads_send_is_found_by_a_scheduler_that_sleeps_each_threads_in_order() {
    in_any_order(|| {
        let (door, inbox) = scheduler(8);
        let senders: Vec<_> = (0..2)
            .map(|number| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    assert!(inbox.post(post(number)).is_ok());
                    assert!(inbox.cancel(Key { scheduler: SCHEDULER, index: number as u32, generation: 1 }).is_ok());
                    assert!(inbox.post(post(number + 10)).is_ok());
                })
            })
            .collect();
        let (mut tags, mut cancels) = (Vec::new(), Vec::new());
        while tags.len() < 4 || cancels.len() < 2 {
            match inbox.take() {
                Some(arrived) => {
                    tags.extend(arrived.posts.iter().map(|post| post.tag));
                    cancels.extend(arrived.cancels);
                }
                None => door.turn(),
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let place = |tag| tags.iter().position(|other| *other == tag).unwrap();
        assert!(place(0) < place(10) && place(1) < place(11), "{tags:?}");
        cancels.sort();
        assert_eq!(cancels, [(0, 1), (1, 1)]);
    });
}

#[test]
#[should_panic]
fn a_wake_before_what_it_is_for_is_found() {
    let promise = what_other_threads_send_is_found_by_a_scheduler_that_sleeps_each_threads_in_order;
    with_fault("woken too early", promise);
}

#[test]
#[should_panic]
fn a_call_that_is_forgotten_beside_a_look_is_found() {
    let promise = what_other_threads_send_is_found_by_a_scheduler_that_sleeps_each_threads_in_order;
    with_fault("cleared too late", promise);
}

#[test]
fn work_that_there_is_no_place_for_goes_back_before_what_came_since() {
    in_any_order(|| {
        let (door, inbox) = scheduler(8);
        let other = Arc::clone(&inbox);
        let sender = thread::spawn(move || (0..3).for_each(|tag| assert!(other.post(post(tag)).is_ok())));
        let mut tags = Vec::new();
        while tags.len() < 3 {
            // There is room for one at a time.
            match inbox.take() {
                Some(arrived) => {
                    let mut posts = arrived.posts.into_iter();
                    tags.extend(posts.next().map(|post| post.tag));
                    if posts.len() > 0 {
                        inbox.put_back(posts);
                    }
                }
                None => door.turn(),
            }
        }
        sender.join().unwrap();
        assert_eq!(tags, [0, 1, 2]);
    });
}

#[test]
fn a_scheduler_that_ends_takes_each_thing_or_refuses_it() {
    in_any_order(|| {
        let (_door, inbox) = scheduler(1);
        let other = Arc::clone(&inbox);
        let sender = thread::spawn(move || {
            let first = other.post(post(1)).is_ok();
            let second = other.post(post(2)).is_ok();
            assert!(!second || first, "it was over, and took something");
            first
        });
        let taken = inbox.take().map_or(0, |arrived| arrived.posts.len());
        inbox.end();
        let is_in = sender.join().unwrap();
        assert!(taken == 0 || is_in);
        assert!(inbox.post(post(3)).is_err());
        assert!(inbox.take().is_none_or(|arrived| arrived.posts.is_empty()), "what came later is nowhere");
    });
}
