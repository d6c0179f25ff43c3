//! Waits for children, as the system's own threads make them on Windows: one thread for all of a scheduler's, here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::super::signalled::Signalled;
use super::calls::lend;
use crate::backend::{Completion, Completions, Fault, RawDescriptor, Token, Wakeup, children};

/// The number of the event that ends the thread; tokens are smaller.
const END: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    signalled: Signalled,
    watched: OwnedFd,
    end: OwnedFd,
}

impl Shared {
    /// The life of the thread.
    fn watch(&self) {
        let mut events = Vec::with_capacity(16);
        loop {
            events.clear();
            match epoll::wait(&self.watched, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                match event.data.u64() {
                    END => return,
                    token => self.signalled.tell(Token(token)),
                }
            }
        }
    }
}

/// All waits of one scheduler.
#[derive(Debug)]
pub(crate) struct Waits {
    wakeup: Wakeup,
    shared: Option<Arc<Shared>>,
    waits: Vec<(Token, RawDescriptor)>,
}

impl Waits {
    pub(crate) fn new(wakeup: Wakeup) -> Waits {
        Waits { wakeup, shared: None, waits: Vec::new() }
    }

    fn shared(&mut self) -> std::io::Result<&Arc<Shared>> {
        if self.shared.is_none() {
            let watched = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let end = eventfd(0, EventfdFlags::CLOEXEC)?;
            epoll::add(&watched, end.as_fd(), epoll::EventData::new_u64(END), epoll::EventFlags::IN)?;
            let shared = Arc::new(Shared { signalled: Signalled::new(self.wakeup.clone()), watched, end });
            let for_thread = Arc::clone(&shared);
            thread::Builder::new().name("corella-waits".into()).spawn(move || for_thread.watch())?;
            self.shared = Some(shared);
        }
        match &self.shared {
            Some(shared) => Ok(shared),
            None => unreachable!("made above"),
        }
    }

    pub(crate) fn submit(&mut self, token: Token, child: RawDescriptor, completions: &mut Completions) {
        let interest = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let added = self.shared().and_then(|shared| {
            let data = epoll::EventData::new_u64(token.0);
            Ok(epoll::add(&shared.watched, lend(child), data, interest)?)
        });
        match added {
            Ok(()) => self.waits.push((token, child)),
            Err(error) => completions.push_back(Completion { token, outcome: Err(Fault::from_io(&error)) }),
        }
    }

    /// Gives a wait up. One that was signalled meanwhile is told of by [`drain`](Self::drain).
    pub(crate) fn cancel(&mut self, token: Token, completions: &mut Completions) {
        let Some(place) = self.waits.iter().position(|(other, _)| *other == token) else { return };
        let Some(shared) = &self.shared else { return };
        let _ = epoll::delete(&shared.watched, lend(self.waits[place].1));
        if !shared.signalled.has(token) {
            self.waits.swap_remove(place);
            completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
        }
    }

    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) {
        let tokens: Vec<Token> = self.waits.iter().map(|(token, _)| *token).collect();
        tokens.into_iter().for_each(|token| self.cancel(token, completions));
    }

    /// Moves what was signalled to `completions`.
    pub(crate) fn drain(&mut self, completions: &mut Completions) {
        let Some(shared) = &self.shared else { return };
        for token in shared.signalled.take() {
            let Some(place) = self.waits.iter().position(|(other, _)| *other == token) else { continue };
            let (_, child) = self.waits.swap_remove(place);
            let _ = epoll::delete(&shared.watched, lend(child));
            // By its descriptor, which says whose number it is.
            let outcome = children::reap(0, lend(child)).unwrap_or(Err(Fault::Interrupted));
            completions.push_back(Completion { token, outcome });
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waits.is_empty()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let _ = rustix::io::write(&shared.end, &1u64.to_ne_bytes());
        }
    }
}
