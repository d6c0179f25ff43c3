//! Makes a Lua state a host's: the objects, and the Lua side in `prelude.lua`.

use std::rc::Rc;

use mlua::{Lua, Table};

use crate::runtime::Runtime;
use crate::{file_handle, file_system, scheduler, socket, status, tasks, verb};

const PRELUDE: &str = include_str!("prelude.lua");
/// The tables of methods that scripts see, and that objects have as their `__index`.
const CLASSES: [&str; 6] = ["FileHandle", "Socket", "Status", "Scheduler", "Task", "fs"];

/// A table under `name` in `table`.
fn inner(lua: &Lua, table: &Table, name: &str) -> mlua::Result<Table> {
    let inner = lua.create_table()?;
    table.set(name, &inner)?;
    Ok(inner)
}

pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, marker: &Table) -> mlua::Result<()> {
    let raw = lua.create_table()?;
    let classes = inner(lua, &raw, "classes")?;
    for name in CLASSES {
        let class = inner(lua, &classes, name)?;
        lua.set_named_registry_value(&format!("corella.{name}"), class)?;
    }
    install_verbs(lua, runtime, &inner(lua, &raw, "verbs")?)?;
    install_direct(lua, runtime, &inner(lua, &raw, "direct")?)?;
    status::install_take(lua, &raw)?;
    raw.set("cannot_wait", lua.create_function(|_, name: String| Ok(verb::cannot_wait(&name)))?)?;
    tasks::install(lua, runtime, &raw)?;
    let prelude = lua.load(PRELUDE).set_name("=[corella]");
    // The standard streams are objects, which need what the Lua side defines.
    let late = raw.clone();
    prelude.call::<()>((late, marker))?;
    file_handle::install_standard(lua, runtime, &raw, &lua.globals())
}

fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    file_handle::install_verbs(lua, runtime, &inner(lua, verbs, "FileHandle")?)?;
    socket::install_verbs(lua, runtime, &inner(lua, verbs, "Socket")?)?;
    scheduler::install_verbs(lua, runtime, &inner(lua, verbs, "Scheduler")?)?;
    file_system::install_verbs(lua, runtime, &inner(lua, verbs, "fs")?)
}

fn install_direct(lua: &Lua, runtime: &Rc<Runtime>, direct: &Table) -> mlua::Result<()> {
    file_handle::install(lua, runtime, &inner(lua, direct, "FileHandle")?)?;
    socket::install(lua, runtime, &inner(lua, direct, "Socket")?)?;
    status::install(lua, runtime, &inner(lua, direct, "Status")?)?;
    scheduler::install(lua, runtime, &inner(lua, direct, "Scheduler")?)
}
