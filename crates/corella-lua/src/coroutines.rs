//! What mlua has no calls for: methods that suspend the coroutine that calls them, and the resumption of a task with what
//! it waited for, without lists of values.
//!
//! One of the two places of this crate with `unsafe`; the other is `lent.rs`. By way of Lua and mlua alone a call that waits
//! takes four more calls of functions and two such lists, which was a third of an echo's instructions.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use mlua::{AnyUserData, Function, IntoLuaMulti, LightUserData, Lua, MultiValue, Thread, ffi};

use crate::failure::Failure;
use crate::runtime::Runtime;
use crate::socket::Socket;

/// What a task is resumed with.
pub(crate) enum Given {
    Nothing,
    Count(usize),
    /// In a buffer of the runtime's, which gets it back.
    Bytes(Vec<u8>),
}

/// How far a task has come.
pub(crate) enum Stop {
    /// It has yielded nothing: it waits, if that was told of.
    WithNothing,
    /// It has yielded, or returned, these.
    With(MultiValue),
}

/// Upvalues of a method of [`sooner`]'s: what goes the long way; what gives the failure that the runtime keeps; and what has an
/// error say where it is raised.
const LATER: c_int = ffi::lua_upvalueindex(1);
const KEPT: c_int = ffi::lua_upvalueindex(2);
const LOCATED: c_int = ffi::lua_upvalueindex(3);
const UPVALUES: c_int = 3;

/// Has the functions of C's find the runtime: its address is in the room that each coroutine has for the program, and that new
/// ones have from the main one. The runtime lives as long as Lua has it among its data, longer than any function.
pub(crate) fn prepare(lua: &Lua, runtime: &Rc<Runtime>) {
    // SAFETY: the room is for one pointer. mlua has no use for it, and everything else of this Lua is the host's.
    unsafe { *ffi::lua_getextraspace(lua.state()).cast() = Rc::as_ptr(runtime) };
}

/// The runtime that `prepare` was given.
///
/// # Safety
/// `state` is of a Lua that was prepared, and runs a function.
#[inline]
unsafe fn runtime_of(state: *mut ffi::lua_State) -> ManuallyDrop<Rc<Runtime>> {
    // SAFETY: see `prepare`. The count of its owners stays as it is.
    unsafe { ManuallyDrop::new(Rc::from_raw(*ffi::lua_getextraspace(state).cast::<*const Runtime>())) }
}

/// What is tried first when a method is called that waits.
pub(crate) trait Shortest {
    /// So many arguments of its own, the object with them. With more it is not tried.
    const ARGUMENTS: c_int;
    /// So many values it leaves above them where the task is to wait.
    const LEAVES: c_int;
    /// Whether they are let go of while the task waits: a string may be large.
    const FREES_ARGUMENTS: bool = false;

    fn now(call: &Call<'_>) -> Next;
}

/// What a method is to do next.
#[repr(C)]
pub(crate) enum Next {
    /// Give so many results, which are on the stack.
    Give(c_int),
    Wait,
    /// Raise the failure that the runtime keeps.
    Fail,
    GoTheLongWay,
}

/// A call of a method that Lua has made.
pub(crate) struct Call<'a> {
    state: *mut ffi::lua_State,
    pub(crate) runtime: &'a Rc<Runtime>,
}

impl Call<'_> {
    /// The first argument, if it is a socket. What this leaves on the stack is above the arguments.
    #[inline]
    pub(crate) fn socket(&self) -> Option<Socket> {
        // SAFETY: Lua has called with this state, and there is room for one more. What is no object is not asked for its value;
        // others than sockets have none that is an address, and this one is only looked up.
        let number = unsafe {
            if ffi::lua_type(self.state, 1) != ffi::LUA_TUSERDATA {
                return None;
            }
            ffi::lua_getiuservalue(self.state, 1, 1);
            ffi::lua_touserdata(self.state, -1).addr()
        };
        self.runtime.sockets.find(number as u64).map(Socket)
    }

    /// The argument in that place, if it is an integer.
    #[inline]
    pub(crate) fn integer(&self, place: c_int) -> Option<i64> {
        // SAFETY: Lua has called with this state. There may be no such argument.
        unsafe { (ffi::lua_isinteger(self.state, place) != 0).then(|| ffi::lua_tointeger(self.state, place)) }
    }

    /// The argument in that place, if it is a number.
    pub(crate) fn number(&self, place: c_int) -> Option<f64> {
        // SAFETY: as in `integer`.
        unsafe { (ffi::lua_type(self.state, place) == ffi::LUA_TNUMBER).then(|| ffi::lua_tonumber(self.state, place)) }
    }

    /// The argument in that place, if it is a string.
    #[inline]
    pub(crate) fn bytes(&self, place: c_int) -> Option<&[u8]> {
        // SAFETY: as in `integer`. A string stays where it is for as long as it is on the stack, where the call has it.
        unsafe {
            if ffi::lua_type(self.state, place) != ffi::LUA_TSTRING {
                return None;
            }
            let mut length = 0;
            let start: *const u8 = ffi::lua_tolstring(self.state, place, &mut length).cast();
            Some(std::slice::from_raw_parts(start, length))
        }
    }

    /// What was asked for, a number, is there.
    #[inline]
    pub(crate) fn give_count(&self, count: usize) -> Next {
        // SAFETY: Lua has called with this state, and there is room for one more.
        unsafe { ffi::lua_pushinteger(self.state, count as ffi::lua_Integer) };
        Next::Give(1)
    }

    /// What was asked for, a string, is there.
    pub(crate) fn give_bytes(&self, bytes: &[u8]) -> Next {
        // SAFETY: as in `give_count`. To make a string may run finalizers of the script's, but raises no error: mlua's
        // allocator aborts if there is no memory, and finalizers are protected.
        unsafe { ffi::lua_pushlstring(self.state, bytes.as_ptr().cast(), bytes.len()) };
        Next::Give(1)
    }

    /// Whether the task will wait so that the host sees it at once.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        // SAFETY: Lua has called a function of a Lua that is prepared with this state.
        unsafe { is_run_by_the_host(self.state) }
    }

    /// It has failed.
    #[cold]
    pub(crate) fn fail(&self, failure: Failure) -> Next {
        self.runtime.failure.set(Some(failure));
        Next::Fail
    }
}

/// Has the socket's methods find it again, by this number.
pub(crate) fn numbered(lua: &Lua, object: AnyUserData, number: u64) -> mlua::Result<AnyUserData> {
    // An address that is none: it is read faster than a number.
    let number = LightUserData(std::ptr::without_provenance_mut(number as usize));
    // SAFETY: what is on the stack is as `exec_raw` has put it there, and all of mlua's objects have room for one such value,
    // which mlua itself uses only where it is asked to.
    unsafe {
        lua.exec_raw((object, number), |state| {
            ffi::lua_setiuservalue(state, -2, 1);
        })
    }
}

/// Gives a coroutine that has not begun arguments, which it has from then on by itself.
pub(crate) fn give(lua: &Lua, thread: &Thread, arguments: impl IntoLuaMulti) -> mlua::Result<()> {
    let into = thread.state();
    // SAFETY: `thread` keeps its coroutine alive, which does not run. What moves is what `exec_raw` has put on the stack, and
    // nothing of Rust's is between its call and the error that it catches.
    unsafe {
        lua.exec_raw(arguments, |state| {
            let count = ffi::lua_gettop(state);
            if ffi::lua_checkstack(into, count) == 0 {
                ffi::lua_pushstring(state, c"too many arguments for a task".as_ptr());
                ffi::lua_error(state)
            }
            ffi::lua_xmove(state, into, count);
        })
    }
}

/// Resumes a task that waits in a method that [`sooner`] made, or in the Lua side's own, with what is given; with true before
/// it, if the task did not wait so that the host sees it at once.
#[inline(always)]
pub(crate) fn resume(
    lua: &Lua,
    thread: &Thread,
    runtime: &Rc<Runtime>,
    is_short: bool,
    given: Given,
) -> mlua::Result<Stop> {
    let (main, state) = (lua.state(), thread.state());
    // SAFETY: `thread` keeps its coroutine alive, and `lua` the state that both are of. This is called from the host's loop,
    // outside Lua: nothing runs, and on the main state is room. A string is made there: that may run finalizers of the
    // script's, and a suspended coroutine cannot call them. It cannot raise an error, as mlua's allocator aborts if there is
    // no memory, and finalizers are protected. They may resume the coroutine, so it is asked afterwards how it stands.
    // Pushing on a suspended one is what the manual asks for, and there is room, as it was a function of C's that yielded.
    // `lua_resume` catches all errors of the script's.
    let (status, count) = unsafe {
        let values = match given {
            Given::Nothing => 0,
            Given::Count(count) => {
                ffi::lua_pushinteger(main, count as ffi::lua_Integer);
                1
            }
            Given::Bytes(bytes) => {
                ffi::lua_pushlstring(main, bytes.as_ptr().cast(), bytes.len());
                runtime.keep_receive_buffer(bytes);
                1
            }
        };
        if ffi::lua_status(state) != ffi::LUA_YIELD {
            ffi::lua_settop(main, -1 - values);
            return Err(mlua::Error::CoroutineUnresumable);
        }
        if !is_short {
            ffi::lua_pushboolean(state, 1);
        }
        ffi::lua_xmove(main, state, values);
        let mut count = 0;
        runtime.resumed.set(state);
        runtime.given.set(values);
        let status = ffi::lua_resume(state, std::ptr::null_mut(), values + c_int::from(!is_short), &mut count);
        runtime.resumed.set(std::ptr::null_mut());
        if status == ffi::LUA_YIELD && count == 0 {
            return Ok(Stop::WithNothing);
        }
        (status, count)
    };
    stopped(lua, state, status, count).map(Stop::With)
}

/// What a task has yielded or returned, or the error that it has ended with.
#[cold]
fn stopped(lua: &Lua, state: *mut ffi::lua_State, status: c_int, count: c_int) -> mlua::Result<MultiValue> {
    // SAFETY: the results, or the error, are on top of the coroutine's stack and belong on the other's, where mlua takes
    // them; it catches the error that is raised, and nothing of Rust's is between.
    unsafe {
        lua.exec_raw((), |into| match status {
            ffi::LUA_OK | ffi::LUA_YIELD => {
                ffi::luaL_checkstack(into, count, std::ptr::null());
                ffi::lua_xmove(state, into, count);
            }
            _ => {
                ffi::lua_xmove(state, into, 1);
                ffi::lua_error(into);
            }
        })
    }
}

/// Makes a method that tries `S` first. If that gives what was asked for, so does the method. If it has to wait, it suspends who
/// calls it until the host resumes the task; if it has failed, it raises that. In all other cases, and where there are more
/// arguments or nothing can wait, it calls `later` with the same arguments.
pub(crate) fn sooner<S: Shortest>(
    lua: &Lua,
    (later, kept, located): (Function, Function, Function),
) -> mlua::Result<Function> {
    // SAFETY: what is on the stack is as `exec_raw` has put it there; errors are caught by mlua, and nothing of Rust's is
    // between.
    unsafe { lua.exec_raw((later, kept, located), |state| ffi::lua_pushcclosure(state, method::<S>, UPVALUES)) }
}

/// What [`sooner`] makes a function of.
unsafe extern "C-unwind" fn method<S: Shortest>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls this with the upvalues that `sooner` gave it and room for twenty values. A jump out of here, for an
    // error or to whoever resumed the coroutine, passes over nothing that has to be dropped.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count > S::ARGUMENTS || ffi::lua_isyieldable(state) == 0 {
            return go_the_long_way(state);
        }
        match try_now::<S>(state) {
            Next::Give(count) => count,
            Next::Wait => {
                let is_short = is_run_by_the_host(state);
                if S::FREES_ARGUMENTS || !is_short {
                    ffi::lua_settop(state, 0);
                }
                if is_short {
                    // What is on the stack stays there, below what the coroutine is resumed with.
                    let below = if S::FREES_ARGUMENTS { 0 } else { count + S::LEAVES };
                    debug_assert_eq!(below, ffi::lua_gettop(state));
                    return ffi::lua_yieldk(state, 0, below as ffi::lua_KContext, Some(go_on_short));
                }
                // Whoever resumed it may empty the stack.
                ffi::lua_pushlightuserdata(state, marker(state));
                ffi::lua_yieldk(state, 1, 0, Some(go_on))
            }
            Next::Fail => {
                ffi::lua_pushvalue(state, KEPT);
                ffi::lua_call(state, 0, 1);
                raise(state)
            }
            Next::GoTheLongWay => {
                ffi::lua_settop(state, count);
                go_the_long_way(state)
            }
        }
    }
}

/// What a task yields that waits: an address that no script can name.
///
/// # Safety
/// As of [`runtime_of`].
#[inline]
unsafe fn marker(state: *mut ffi::lua_State) -> *mut c_void {
    // SAFETY: see `prepare`.
    unsafe { *ffi::lua_getextraspace(state).cast::<*mut c_void>() }
}

/// Whether the host itself has resumed this coroutine, the short way.
///
/// # Safety
/// As of [`runtime_of`].
#[inline]
unsafe fn is_run_by_the_host(state: *mut ffi::lua_State) -> bool {
    // SAFETY: the caller's promise.
    unsafe { runtime_of(state) }.resumed.get() == state
}

/// Tries `S`. A panic in it, which could not pass through Lua, ends the process.
///
/// # Safety
/// `state` runs a function that `sooner` made, with its arguments on the stack.
unsafe extern "C" fn try_now<S: Shortest>(state: *mut ffi::lua_State) -> Next {
    // SAFETY: the function was made for a Lua that is prepared.
    let runtime = unsafe { runtime_of(state) };
    S::now(&Call { state, runtime: &runtime })
}

/// The task, which waited so that the host sees it at once, has been resumed: by the host with what it waited for, or as any.
unsafe extern "C-unwind" fn go_on_short(state: *mut ffi::lua_State, status: c_int, below: ffi::lua_KContext) -> c_int {
    // SAFETY: above what `method` left on the stack is what the coroutine was resumed with, and the host knows how much that is.
    unsafe {
        match is_run_by_the_host(state) {
            true => runtime_of(state).given.get(),
            false => go_on(state, status, below),
        }
    }
}

/// The task has been resumed: with true and what it waited for, or false and why that failed.
unsafe extern "C-unwind" fn go_on(state: *mut ffi::lua_State, _: c_int, below: ffi::lua_KContext) -> c_int {
    // SAFETY: above what `method` left on the stack is what the host gave, or a script that resumes a task's own coroutine, which
    // may be nothing. That fails with nil.
    unsafe {
        let below = below as c_int;
        let count = ffi::lua_gettop(state) - below;
        if ffi::lua_toboolean(state, below + 1) == 0 {
            if count == 0 {
                ffi::lua_pushnil(state);
            }
            raise(state)
        }
        count - 1
    }
}

/// Calls `later` with the arguments, and gives what that gives.
///
/// # Safety
/// `state` runs a function that `sooner` made, with its arguments on the stack.
unsafe fn go_the_long_way(state: *mut ffi::lua_State) -> c_int {
    unsafe extern "C-unwind" fn give_all(state: *mut ffi::lua_State, _: c_int, _: ffi::lua_KContext) -> c_int {
        // SAFETY: only what the function gave is on the stack.
        unsafe { ffi::lua_gettop(state) }
    }
    // SAFETY: there is room for one more, and the upvalue is a function. It may suspend the coroutine: nothing is to be
    // dropped here, and Lua goes on in `give_all`.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::lua_pushvalue(state, LATER);
        ffi::lua_insert(state, 1);
        ffi::lua_callk(state, count, ffi::LUA_MULTRET, 0, Some(give_all));
        give_all(state, ffi::LUA_OK, 0)
    }
}

/// Raises the failure on top of the stack.
///
/// # Safety
/// `state` runs a function that `sooner` made, and nothing that has to be dropped is on the way out.
unsafe fn raise(state: *mut ffi::lua_State) -> ! {
    // SAFETY: there is room for one more, and the upvalue is a function.
    unsafe {
        ffi::lua_pushvalue(state, LOCATED);
        ffi::lua_insert(state, -2);
        ffi::lua_call(state, 1, 1);
        ffi::lua_error(state)
    }
}
