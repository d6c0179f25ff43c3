//! Directory: a directory whose names are read one by one, as scripts hold it.
//!
//! What has been read is kept, so that a place told before is the same place again, whatever others do to the directory
//! meanwhile; `rewinddir` begins anew.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corella::{Directory as Names, Entry, Error, ErrorKind, RequestId};
use mlua::{Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::arguments::Arguments;
use crate::failure::{Failure, OperationError};
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::verb::{Problem, direct, verb};

/// What somebody waits for.
#[derive(Clone, Copy)]
enum Wanted {
    Next,
    Place(usize),
}

impl Wanted {
    fn operation(self) -> &'static str {
        match self {
            Wanted::Next => "readdir",
            Wanted::Place(_) => "seekdir",
        }
    }
}

struct State {
    /// Gone once it is closed.
    names: Option<Names>,
    /// What errors call it.
    path: String,
    entries: Vec<Entry>,
    /// Of the next one to give.
    place: usize,
    at_end: bool,
    /// The request that reads on, and for which of the beginnings.
    under_way: Option<(u64, RequestId)>,
    /// Counts the beginnings: what was asked for before the last one is out of date.
    beginning: u64,
    waiting: VecDeque<(Rc<Request>, Wanted)>,
}

struct Inner {
    runtime: Rc<Runtime>,
    state: RefCell<State>,
}

/// What a script holds of a directory.
#[derive(Clone)]
pub(crate) struct Directory(Rc<Inner>);

impl UserData for Directory {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Directory");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Directory"));
        fields.add_meta_field_with("__close", |lua| lua.named_registry_value::<Value>("corella.close"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            let state = this.0.state.borrow();
            let closed = if state.names.is_none() { "closed, " } else { "" };
            Ok(format!("Directory ({closed}{})", state.path))
        });
    }
}

/// `fs.opendir(path)`: gives the Directory.
pub(crate) fn open(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    path: &Path,
    deadline: Option<Duration>,
) -> Result<Rc<Request>, String> {
    let state = State {
        names: None,
        path: path.to_string_lossy().into(),
        entries: Vec::new(),
        place: 0,
        at_end: false,
        under_way: None,
        beginning: 0,
        waiting: VecDeque::new(),
    };
    let inner = Rc::new(Inner { runtime: Rc::clone(runtime), state: RefCell::new(state) });
    let object = lua.create_userdata(Directory(Rc::clone(&inner))).map_err(|error| error.to_string())?;
    Ok(runtime.begin(Class::Counted, deadline, runtime.io().read_directory(path), move |outcome| {
        inner.state.borrow_mut().names = Some(outcome?);
        Ok(Outcome::Values(MultiValue::from_vec(vec![Value::UserData(object)])))
    }))
}

impl Inner {
    fn closed(&self, operation: &'static str) -> OperationError {
        let state = self.state.borrow();
        OperationError::new(ErrorKind::Closed, operation, state.path.clone(), "the directory is closed")
    }

    fn ask(self: &Rc<Self>, wanted: Wanted, deadline: Option<Duration>) -> Rc<Request> {
        if self.state.borrow().names.is_none() {
            return Request::settled(&self.runtime, Err(self.closed(wanted.operation()).into()));
        }
        let request = Request::new(&self.runtime, Class::Counted);
        request.set_stop(Stop::Settle(wanted.operation()));
        self.state.borrow_mut().waiting.push_back((Rc::clone(&request), wanted));
        self.advance();
        request.limit(deadline, wanted.operation(), || {});
        request
    }

    /// Gives what there is to those who wait, and reads on if that is not enough.
    fn advance(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            let Some((request, wanted)) = state.waiting.front().cloned() else { return };
            let (there, at_end) = (state.entries.len(), state.at_end);
            let outcome = match wanted {
                _ if request.is_settled() => Outcome::Nothing,
                Wanted::Next if state.place < there => {
                    state.place += 1;
                    Outcome::Entry(state.entries[state.place - 1].clone())
                }
                Wanted::Next if at_end => Outcome::Nothing,
                Wanted::Place(place) if place <= there || at_end => {
                    state.place = place.min(there);
                    Outcome::Nothing
                }
                _ => {
                    drop(state);
                    return self.read_on();
                }
            };
            state.waiting.pop_front();
            drop(state);
            request.settle(Ok(outcome));
        }
    }

    fn read_on(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let beginning = state.beginning;
        if matches!(state.under_way, Some((under_way, _)) if under_way == beginning) {
            return;
        }
        let Some(names) = &mut state.names else { return };
        let operation = names.next_entries();
        drop(state);
        let this = Rc::clone(self);
        let submitted = operation.direct().then(move |outcome| this.arrived(beginning, outcome));
        match submitted {
            Ok(id) => self.state.borrow_mut().under_way = Some((beginning, id)),
            Err(error) => self.fail_first(error.into()),
        }
    }

    fn arrived(self: &Rc<Self>, beginning: u64, outcome: Result<Vec<Entry>, Error>) {
        let mut state = self.state.borrow_mut();
        if state.beginning != beginning {
            return;
        }
        state.under_way = None;
        match outcome {
            Ok(batch) => {
                state.at_end = batch.is_empty();
                state.entries.extend(batch);
                drop(state);
            }
            Err(error) => {
                drop(state);
                self.fail_first(error.into());
            }
        }
        self.advance();
    }

    fn fail_first(&self, failure: Failure) {
        let first = self.state.borrow_mut().waiting.pop_front();
        first.into_iter().for_each(|(request, _)| request.settle(Err(failure.clone())));
    }

    fn close(&self) -> Result<(), OperationError> {
        if self.state.borrow().names.is_none() {
            return Err(self.closed("closedir"));
        }
        let (under_way, waiting, path) = {
            let mut state = self.state.borrow_mut();
            state.names = None;
            state.beginning += 1;
            (state.under_way.take(), std::mem::take(&mut state.waiting), state.path.clone())
        };
        under_way.into_iter().for_each(|(_, id)| self.runtime.io().cancel(id));
        for (request, wanted) in waiting {
            let error = OperationError::stopped(ErrorKind::Cancelled, wanted.operation(), path.clone());
            request.settle(Err(error.into()));
        }
        Ok(())
    }

    fn rewind(self: &Rc<Self>) -> Result<(), OperationError> {
        {
            let mut state = self.state.borrow_mut();
            let Some(names) = &mut state.names else {
                drop(state);
                return Err(self.closed("rewinddir"));
            };
            names.rewind();
            state.beginning += 1;
            (state.place, state.at_end) = (0, false);
            state.entries.clear();
        }
        self.advance();
        Ok(())
    }
}

fn directory_of(arguments: &mut Arguments) -> Result<Rc<Inner>, String> {
    let object = arguments.object::<Directory>("Directory")?;
    let directory = object.borrow::<Directory>().map_err(|error| error.to_string())?;
    Ok(Rc::clone(&directory.0))
}

/// Adds Directory's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, verbs: &Table) -> mlua::Result<()> {
    verb(lua, verbs, "readdir", |_, arguments| {
        Ok(directory_of(arguments)?.ask(Wanted::Next, arguments.options.deadline))
    })?;
    verb(lua, verbs, "seekdir", |_, arguments| {
        let directory = directory_of(arguments)?;
        let place = usize::try_from(arguments.count("place")?).unwrap_or(usize::MAX);
        Ok(directory.ask(Wanted::Place(place), arguments.options.deadline))
    })?;
    verb(lua, verbs, "closedir", |_, arguments| {
        let directory = directory_of(arguments)?;
        let result = directory.close();
        Ok(Request::settled(&directory.runtime, result.map(|()| Outcome::Nothing).map_err(Failure::from)))
    })
}

/// Adds Directory's calls that finish at once to `methods`.
pub(crate) fn install(lua: &Lua, methods: &Table) -> mlua::Result<()> {
    direct(lua, methods, "telldir", |_, arguments| {
        let directory = directory_of(arguments)?;
        let (is_open, place) = {
            let state = directory.state.borrow();
            (state.names.is_some(), state.place)
        };
        match is_open {
            true => Ok(place),
            false => Err(Problem::from(directory.closed("telldir"))),
        }
    })?;
    direct(lua, methods, "rewinddir", |_, arguments| Ok(directory_of(arguments)?.rewind()?))?;
    direct(lua, methods, "is_closed", |_, arguments| Ok(directory_of(arguments)?.state.borrow().names.is_none()))
}
