//! What is bound to no thread: tokens, remotes, connections between schedulers, settings.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard};

use corella::CancelToken;

use crate::codes::{
    CORELLA_ERROR_BUSY, CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_WRONG_KIND, CORELLA_ERROR_WRONG_PROCESS, CORELLA_OK,
};
use crate::faults::{Fault, put};
use crate::files::put_back;
use crate::fork;
use crate::host::Host;
use crate::ids::{Detached, Handle, Key, Named, Remote, Request, Scheduler, Token};
use crate::inbox::{Arrived, Inbox, Post};
use crate::os::owned_socket;
use crate::outcome::Object;
use crate::registry::{guarded, on_host};
use crate::request::{Callback, ENQUEUED, Ending, SCHEDULED, Stage, Verb};
use crate::scheduler::Chosen;
use crate::table::Table;

/// A thing that every thread may name.
enum Global {
    Settings(Chosen),
    Token(CancelToken),
    Remote(Arc<Inbox>),
    Detached { connection: corella::Detached, listens: bool },
}

/// The same with the process that made it.
pub(crate) struct Entry {
    global: Global,
    fork_generation: u64,
}

pub(crate) type Globals = Table<Entry>;

static GLOBALS: Mutex<Globals> = Mutex::new(Table::new(0, 1));

/// For `globals`, and for who forks.
pub(crate) fn lock() -> MutexGuard<'static, Globals> {
    // Nothing of a program's runs under the lock, so a poisoned one holds nothing half done.
    GLOBALS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn globals() -> MutexGuard<'static, Globals> {
    fork::watch();
    lock()
}

/// What an id names. In a forked child what its parent made is not to be used, but for settings, which are numbers and
/// nobody's.
fn find(globals: &mut Globals, key: Key) -> Result<&mut Global, c_int> {
    let Entry { global, fork_generation } = globals.get_mut(key)?;
    match *fork_generation == corella::fork_generation() || matches!(global, Global::Settings(_)) {
        true => Ok(global),
        false => Err(CORELLA_ERROR_WRONG_PROCESS),
    }
}

fn key<T: Named>(id: *mut T) -> Result<Key, c_int> {
    Key::of(id).filter(|key| key.scheduler == 0).ok_or(CORELLA_ERROR_INVALID_ID)
}

fn add<T: Named>(global: Global, place: Option<&mut MaybeUninit<*mut T>>) -> Result<c_int, Fault> {
    let Some(place) = place else { return Err(Fault::input("no place for the id")) };
    place.write(std::ptr::null_mut());
    let mut globals = globals();
    place.write(globals.insert(Entry { global, fork_generation: corella::fork_generation() })?.id());
    Ok(CORELLA_OK)
}

fn remove<T: Named>(name: &'static str, id: *mut T) -> c_int {
    guarded(name, || {
        let key = key(id)?;
        let removed = {
            let mut globals = globals();
            find(&mut globals, key)?;
            globals.remove(key)?
        };
        drop(removed);
        Ok(CORELLA_OK)
    })
}

pub(crate) fn add_settings(place: Option<&mut MaybeUninit<crate::ids::Settings>>) -> Result<c_int, Fault> {
    add(Global::Settings(Chosen::default()), place)
}

/// Looks at settings, or changes them.
pub(crate) fn with_settings<T>(
    settings: crate::ids::Settings,
    look: impl FnOnce(&mut Chosen) -> Result<T, Fault>,
) -> Result<T, Fault> {
    match find(&mut globals(), key(settings)?)? {
        Global::Settings(chosen) => look(chosen),
        _ => Err(CORELLA_ERROR_INVALID_ID.into()),
    }
}

pub(crate) fn remove_settings(settings: crate::ids::Settings) -> c_int {
    remove("corella_settings_free", settings)
}

pub(crate) fn token(token: Token) -> Result<CancelToken, Fault> {
    match find(&mut globals(), key(token)?)? {
        Global::Token(token) => Ok(token.clone()),
        _ => Err(CORELLA_ERROR_INVALID_ID.into()),
    }
}

/// Makes a cancel token: one word that stops every request that was given it with `corella_set_token`, and every one that
/// will be, from any thread. Yours; free it with `corella_token_free`. Not bound to a thread or a scheduler.
#[unsafe(no_mangle)]
pub extern "C" fn corella_token_new(token: Option<&mut MaybeUninit<Token>>) -> c_int {
    guarded("corella_token_new", || add(Global::Token(CancelToken::new()), token))
}

/// Cancels. The requests stop when their scheduler next turns; a second call does nothing. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_token_cancel(token: Token) -> c_int {
    guarded("corella_token_cancel", || {
        self::token(token)?.cancel();
        Ok(CORELLA_OK)
    })
}

/// Whether a token has been cancelled: 1 or 0. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_token_is_cancelled(token: Token) -> c_int {
    guarded("corella_token_is_cancelled", || Ok(c_int::from(self::token(token)?.is_cancelled())))
}

/// Frees a token's id, from any thread. That is not cancelling: requests that have it go on.
#[unsafe(no_mangle)]
pub extern "C" fn corella_token_free(token: Token) -> c_int {
    remove("corella_token_free", token)
}

impl Host {
    /// Deals with what other threads sent.
    pub(crate) fn take_inbox(&self) {
        let Some(Arrived { cancels, posts, stops }) = self.inbox.take() else { return };
        if stops {
            self.stopping.set(true);
        }
        for (index, generation) in cancels {
            let key = Key { scheduler: self.number, index, generation };
            let engine = self.requests.borrow_mut().get(key).ok().and_then(|record| record.engine);
            engine.into_iter().for_each(|engine| self.io.cancel(engine));
        }
        let mut posts = posts.into_iter();
        while let Some(post) = posts.next() {
            if self.take_post(&post).is_err() {
                // No record is left: once more when there are, in the same order.
                self.inbox.put_back(std::iter::once(post).chain(posts));
                break;
            }
        }
    }

    fn take_post(&self, post: &Post) -> Result<(), c_int> {
        let mut requests = self.requests.borrow_mut();
        let (key, record) = requests.insert(Verb::Nothing)?;
        record.stage = Stage::Settled;
        record.callback = post.callback;
        record.user_data = post.user_data;
        record.tag = post.tag;
        let (ending, list) = match post.callback {
            Some(_) => (Ending::Callback, SCHEDULED),
            None => (Ending::Enqueued, ENQUEUED),
        };
        record.ending = ending;
        requests.enlist(key.index, list);
        Ok(())
    }
}

/// Makes an id of a scheduler for other threads. Yours; free it with `corella_remote_free`. It stays valid after the
/// scheduler's end and then answers CORELLA_ERROR_SCHEDULER_GONE.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_new(scheduler: Scheduler, remote: Option<&mut MaybeUninit<Remote>>) -> c_int {
    on_host("corella_remote_new", scheduler, |host, _| add(Global::Remote(Arc::clone(&host.inbox)), remote))
}

fn on_remote(name: &'static str, remote: Remote, call: impl FnOnce(&Inbox) -> Result<(), Fault>) -> c_int {
    guarded(name, || {
        let inbox = match find(&mut globals(), key(remote)?)? {
            Global::Remote(inbox) => Arc::clone(inbox),
            _ => return Err(CORELLA_ERROR_INVALID_ID.into()),
        };
        call(&inbox)?;
        Ok(CORELLA_OK)
    })
}

/// Sends work to the scheduler's thread, from any thread: a request that has settled already, with this callback and user
/// data; with a null callback `corella_next` hands it out. CORELLA_ERROR_REJECTED when as many wait as
/// CORELLA_SETTING_INBOX_JOBS allows.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_post(remote: Remote, callback: Callback, user_data: *mut c_void, tag: c_int) -> c_int {
    on_remote("corella_remote_post", remote, |inbox| inbox.post(Post { callback, user_data, tag }))
}

/// Cancels a request of the scheduler, from any thread. Never needs room; after the request's end it does nothing.
/// CORELLA_ERROR_INVALID_ID for a request of another scheduler.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_cancel(remote: Remote, request: Request) -> c_int {
    let request = Key::of(request);
    on_remote("corella_remote_cancel", remote, |inbox| inbox.cancel(request.ok_or(CORELLA_ERROR_INVALID_ID)?))
}

/// Makes the scheduler's current or next wait return, from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_wake(remote: Remote) -> c_int {
    on_remote("corella_remote_wake", remote, Inbox::wake)
}

/// Makes `corella_run` return, from any thread, as `corella_stop` does from the scheduler's.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_stop(remote: Remote) -> c_int {
    on_remote("corella_remote_stop", remote, |inbox| inbox.stop())
}

/// Frees a remote's id, from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_remote_free(remote: Remote) -> c_int {
    remove("corella_remote_free", remote)
}

/// Takes a socket or listener out of its scheduler, with what it had received for abandoned requests, to be adopted by
/// another, on any thread. The handle's id is freed; the new one is yours: `corella_adopt`, or `corella_detached_free`, which
/// closes it. CORELLA_ERROR_BUSY, and nothing done, while the handle has clones or requests in flight.
#[unsafe(no_mangle)]
pub extern "C" fn corella_detach(handle: Handle, detached: Option<&mut MaybeUninit<Detached>>) -> c_int {
    on_host("corella_detach", handle, |host, key| {
        let Some(place) = detached else { return Err(Fault::input("no place for the id")) };
        place.write(std::ptr::null_mut());
        let object = host.handles.borrow_mut().remove(key)?;
        let (connection, listens) = match object {
            Object::Socket(socket) => match socket.detach() {
                Ok(connection) => (connection, false),
                Err((socket, error)) => return put_back(host, key, Object::Socket(socket), error),
            },
            Object::Listener(listener) => match listener.detach() {
                Ok(connection) => (connection, true),
                Err((listener, error)) => return put_back(host, key, Object::Listener(listener), error),
            },
            other => {
                host.handles.borrow_mut().put_back(key, other);
                return Err(CORELLA_ERROR_WRONG_KIND.into());
            }
        };
        add(Global::Detached { connection, listens }, Some(place))
    })
}

/// Takes a detached socket or listener over. Its id is freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_adopt(
    scheduler: Scheduler,
    detached: Detached,
    handle: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_adopt", scheduler, |host, _| {
        let Some(place) = handle else { return Err(Fault::input("no place for the handle")) };
        place.write(std::ptr::null_mut());
        let key = key(detached)?;
        let global = {
            let mut globals = globals();
            match find(&mut globals, key)? {
                Global::Detached { .. } => globals.remove(key)?.global,
                _ => return Err(CORELLA_ERROR_INVALID_ID.into()),
            }
        };
        let Global::Detached { connection, listens } = global else { return Err(CORELLA_ERROR_BUSY.into()) };
        let object = match listens {
            true => Object::Listener(host.io.adopt_listener(connection)?),
            false => Object::Socket(host.io.adopt_socket(connection)?),
        };
        place.write(host.handles.borrow_mut().insert(object)?.id());
        Ok(CORELLA_OK)
    })
}

/// Closes a detached socket or listener, from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_detached_free(detached: Detached) -> c_int {
    remove("corella_detached_free", detached)
}

/// Takes an OS handle (on Unix a descriptor, on Windows a SOCKET) over as a connected TCP socket, or with `listens` 1 as a
/// listener. It is the library's from this call on and closed by it, also when this fails, unless it was not an open OS
/// handle at all.
#[unsafe(no_mangle)]
pub extern "C" fn corella_adopt_socket(
    scheduler: Scheduler,
    os_handle: isize,
    listens: c_int,
    socket: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_adopt_socket", scheduler, |host, _| {
        let descriptor = owned_socket(os_handle)?;
        let object = match listens {
            0 => Object::Socket(host.io.adopt_socket(descriptor)?),
            _ => Object::Listener(host.io.adopt_listener(descriptor)?),
        };
        let key = host.handles.borrow_mut().insert(object)?;
        put(socket, key.id());
        Ok(CORELLA_OK)
    })
}
