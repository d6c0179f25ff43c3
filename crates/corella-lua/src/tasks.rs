//! Tasks: the coroutines that the host drives. The main program is one, and so is every call of a callback.

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Thread, UserData, UserDataFields, UserDataMethods};

use crate::request::Request;

/// Names one task, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey(u64);

impl TaskKey {
    /// The number that scripts see.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// A task that has not ended.
pub(crate) struct Task {
    pub(crate) thread: Thread,
    /// Settles when it ends, with what its function returned or raised.
    pub(crate) ending: Rc<Request>,
    /// What it waits for.
    pub(crate) awaits: Option<Rc<Request>>,
}

/// All tasks that have not ended.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<TaskKey, Task>,
    made: u64,
}

impl Tasks {
    pub(crate) fn insert(&mut self, thread: Thread, ending: Rc<Request>) -> TaskKey {
        self.made += 1;
        let key = TaskKey(self.made);
        self.tasks.insert(key, Task { thread, ending, awaits: None });
        key
    }

    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.tasks.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        self.tasks.remove(&key)
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn keys(&self) -> Vec<TaskKey> {
        self.tasks.keys().copied().collect()
    }
}

/// What a script holds of a task that it spawned.
pub(crate) struct TaskHandle {
    pub(crate) key: TaskKey,
    pub(crate) ending: Rc<Request>,
}

impl UserData for TaskHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Task");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<mlua::Table>("corella.Task"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            let state = match this.ending.has_failed() {
                None => "running",
                Some(false) => "done",
                Some(true) => "failed",
            };
            Ok(format!("Task {} ({state})", this.key.number()))
        });
    }
}
