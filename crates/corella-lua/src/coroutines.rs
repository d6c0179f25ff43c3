//! What mlua has no calls for: functions that suspend the coroutine that calls them, and the resumption of a task with what
//! it waited for, without lists of values.
//!
//! The one place of this crate with `unsafe`. By way of Lua and mlua alone a call that waits takes four more calls of
//! functions and two such lists, which was a third of an echo's instructions.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use mlua::{Function, IntoLuaMulti, LightUserData, Lua, MultiValue, Thread, ffi};

/// What a task is resumed with.
pub(crate) enum Given<'a> {
    Nothing,
    Count(usize),
    Bytes(&'a [u8]),
}

/// How far a task has come.
pub(crate) enum Stop {
    /// It has yielded the marker and nothing else.
    AtMarker,
    /// It has yielded, or returned, these.
    With(MultiValue),
}

/// Upvalues of a waiting function: what mlua's function has, that function, what goes the long way, what locates an error, and
/// the marker.
const INNER: c_int = ffi::lua_upvalueindex(2);
const LATER: c_int = ffi::lua_upvalueindex(3);
const LOCATED: c_int = ffi::lua_upvalueindex(4);
const MARKER: c_int = ffi::lua_upvalueindex(5);
const UPVALUES: c_int = 5;

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

/// Resumes a task that waits in a method that [`sooner`] made, or in the Lua side's own: with true and what is given.
pub(crate) fn resume(lua: &Lua, thread: &Thread, marker: LightUserData, given: Given<'_>) -> mlua::Result<Stop> {
    let (main, state) = (lua.state(), thread.state());
    // SAFETY: `thread` keeps its coroutine alive, and `lua` the state that both are of. This is called from the host's loop,
    // outside Lua: nothing runs, and on the main state is room. A string is made there: that may run finalizers of the
    // script's, and a suspended coroutine cannot call them. It cannot raise an error, as mlua's allocator aborts if there is
    // no memory, and finalizers are protected. They may resume the coroutine, so it is asked afterwards how it stands.
    // Pushing on a suspended one is what the manual asks for, and there is room, as it was a function of C's that yielded.
    // `lua_resume` catches all errors of the script's.
    let (status, count) = unsafe {
        if let Given::Bytes(bytes) = given {
            ffi::lua_pushlstring(main, bytes.as_ptr().cast(), bytes.len());
        }
        if ffi::lua_status(state) != ffi::LUA_YIELD {
            if let Given::Bytes(_) = given {
                ffi::lua_settop(main, -2);
            }
            return Err(mlua::Error::CoroutineUnresumable);
        }
        ffi::lua_pushboolean(state, 1);
        let arguments = match given {
            Given::Nothing => 1,
            Given::Count(count) => {
                ffi::lua_pushinteger(state, count as ffi::lua_Integer);
                2
            }
            Given::Bytes(_) => {
                ffi::lua_xmove(main, state, 1);
                2
            }
        };
        let mut count = 0;
        let status = ffi::lua_resume(state, std::ptr::null_mut(), arguments, &mut count);
        if status == ffi::LUA_YIELD && count == 1 && ffi::lua_touserdata(state, -1) == marker.0 {
            ffi::lua_settop(state, -2);
            return Ok(Stop::AtMarker);
        }
        (status, count)
    };
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
        .map(Stop::With)
    }
}

/// Makes a method of `now`, which tries a call the shortest way. With true it gives the rest of its results. With `false` it
/// suspends who calls it until the host resumes the task, and with `false` and a failure it raises that. In all other cases,
/// and where there are more than `own` arguments or nothing can wait, it calls `later` with the same arguments.
pub(crate) fn sooner(
    lua: &Lua,
    (now, later, own): (Function, Function, u32),
    marker: LightUserData,
    located: &Function,
) -> mlua::Result<Function> {
    let wait = match own {
        1 => wait::<1>,
        _ => wait::<2>,
    };
    // SAFETY: what is on the stack is as `exec_raw` has put it there, and what is pushed has room; errors are caught by mlua,
    // and nothing of Rust's is between. The pointer is a function's, for `wait` to call.
    unsafe {
        lua.exec_raw((now, later, located, marker), |state| {
            let inner = ffi::lua_tocfunction(state, 1);
            // mlua's function is one of C's with one upvalue, and looks at nothing else.
            let is_known = !ffi::lua_getupvalue(state, 1, 1).is_null() && ffi::lua_getupvalue(state, 1, 2).is_null();
            let (Some(inner), true) = (inner, is_known) else {
                ffi::lua_pushstring(state, c"a function of mlua's is not what it was".as_ptr());
                ffi::lua_error(state)
            };
            ffi::lua_insert(state, 1);
            ffi::lua_pushlightuserdata(state, inner as *mut c_void);
            ffi::lua_replace(state, 2);
            ffi::lua_pushcclosure(state, wait, UPVALUES);
        })
    }
}

/// What [`sooner`] makes of functions with so many arguments of their own.
unsafe extern "C-unwind" fn wait<const OWN: c_int>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls this with the upvalues that `sooner` gave it and room for twenty values. The inner function is called
    // as Lua would call it: with its arguments, and with its own upvalue in the place where it looks for it. A jump out of
    // here, for an error or to whoever resumed the coroutine, passes over nothing that has to be dropped.
    unsafe {
        if ffi::lua_gettop(state) > OWN || ffi::lua_isyieldable(state) == 0 {
            return go_the_long_way(state);
        }
        let inner: ffi::lua_CFunction = std::mem::transmute(ffi::lua_touserdata(state, INNER));
        let results = inner(state);
        if ffi::lua_toboolean(state, -results) != 0 {
            return results - 1;
        }
        if ffi::lua_type(state, -results) == ffi::LUA_TNIL {
            ffi::lua_settop(state, -results - 1);
            return go_the_long_way(state);
        }
        if ffi::lua_type(state, 1 - results) != ffi::LUA_TNIL {
            ffi::lua_settop(state, 1 - results);
            raise(state)
        }
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, MARKER);
        ffi::lua_yieldk(state, 1, 0, Some(go_on))
    }
}

/// The task has been resumed: with true and what it waited for, or false and why that failed.
unsafe extern "C-unwind" fn go_on(state: *mut ffi::lua_State, _: c_int, _: ffi::lua_KContext) -> c_int {
    // SAFETY: as in `wait`, which left nothing on the stack: there is what the host gave, or a script that resumes a task's
    // own coroutine, which may be nothing. That fails with nil.
    unsafe {
        let count = ffi::lua_gettop(state);
        if ffi::lua_toboolean(state, 1) == 0 {
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
