//! Makes a Lua state a host's: the objects, and the Lua side in `prelude.lua` and the parts that it has
//! compiled when they are needed.

use std::rc::Rc;

use mlua::{LightUserData, Lua, Table, Value};

use crate::failure::OperationError;
use crate::runtime::Runtime;
use crate::{address, channel, directory, file_handle, file_system, scheduler, shortest, socket, status, tasks, verb};

const PRELUDE: &str = include_str!("prelude.lua");
/// Parts of the Lua side that are compiled when they are needed.
const PARTS: [(&str, &str); 3] = [
    ("coroutines", include_str!("coroutines.lua")),
    ("iterators", include_str!("iterators.lua")),
    ("modules", include_str!("modules.lua")),
];
const CHUNK_NAME: &str = "=[corella]";
/// The tables of methods that scripts see, and that objects have as their `__index`.
pub(crate) const CLASSES: [&str; 8] =
    ["FileHandle", "Socket", "Status", "Scheduler", "Task", "Channel", "Directory", "fs"];

/// Of a class; tables grow with more, and then all places change.
const METHODS_MAX: usize = 64;
const CALLED_MOST: &[(&str, &[&str])] =
    &[("Socket", &["recv", "send"]), ("FileHandle", &["readline", "read", "print"])];

/// Where modules are looked for unless the script has a folder.
const MODULES_BESIDE: &str = "./?.lua;./?/init.lua";

/// A table under `name` in `table`.
fn inner(lua: &Lua, table: &Table, name: &str) -> mlua::Result<Table> {
    let inner = lua.create_table()?;
    table.set(name, &inner)?;
    Ok(inner)
}

pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, marker: LightUserData) -> mlua::Result<()> {
    lua.set_app_data(Rc::clone(runtime));
    let raw = lua.create_table()?;
    let classes = inner(lua, &raw, "classes")?;
    for name in CLASSES {
        let class = lua.create_table_with_capacity(0, METHODS_MAX)?;
        // Those that are called most stand where they are looked for first, which is what a table has for those that come first.
        for method in CALLED_MOST.iter().filter(|(of, _)| *of == name).flat_map(|(_, methods)| *methods) {
            class.set(*method, false)?;
        }
        classes.set(name, &class)?;
        lua.set_named_registry_value(&format!("corella.{name}"), class)?;
    }
    install_verbs(lua, runtime, &inner(lua, &raw, "verbs")?)?;
    install_direct(lua, runtime, &inner(lua, &raw, "direct")?)?;
    status::install_take(lua, &raw)?;
    file_handle::install_shortest(lua, &raw)?;
    install_located(lua, runtime, &raw)?;
    shortest::install(lua, runtime, &raw)?;
    address::install_raw(lua, &raw)?;
    socket::install_raw(lua, &raw)?;
    raw.set("cannot_wait", lua.create_function(|_, name: String| Ok(verb::cannot_wait(&name)))?)?;
    tasks::install(lua, runtime, &raw)?;
    raw.set("path", MODULES_BESIDE)?;
    let without_shebang =
        |lua: &Lua, source: mlua::LuaString| lua.create_string(crate::host::without_shebang(&source.as_bytes()));
    raw.set("without_shebang", lua.create_function(without_shebang)?)?;
    let load_part = |lua: &Lua, (name, environment): (String, Table)| {
        let source = PARTS.iter().find(|(part, _)| *part == name).map_or("", |(_, source)| source);
        lua.load(source).set_name(CHUNK_NAME).set_environment(environment).into_function()
    };
    raw.set("load_part", lua.create_function(load_part)?)?;
    let prelude = lua.load(PRELUDE).set_name(CHUNK_NAME);
    // The standard streams are objects, which need what the Lua side defines.
    let late = raw.clone();
    prelude.call::<()>((late, Value::LightUserData(marker)))?;
    file_handle::install_standard(lua, runtime, &raw, &lua.globals())
}

/// Adds to `raw` what has an error say where it is raised, and gives it back.
fn install_located(lua: &Lua, runtime: &Rc<Runtime>, raw: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    let located = move |lua: &Lua, problem: Value| {
        if let Value::UserData(object) = &problem
            && let Ok(mut error) = object.borrow_mut::<OperationError>()
        {
            error.locate(|| shared.place(lua));
        }
        Ok(problem)
    };
    raw.set("located", lua.create_function(located)?)
}

fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    file_handle::install_verbs(lua, runtime, &inner(lua, verbs, "FileHandle")?)?;
    let of_sockets = inner(lua, verbs, "Socket")?;
    socket::install_verbs(lua, runtime, &of_sockets)?;
    address::install_verbs(lua, runtime, &of_sockets)?;
    scheduler::install_verbs(lua, runtime, &inner(lua, verbs, "Scheduler")?)?;
    channel::install_verbs(lua, &inner(lua, verbs, "Channel")?)?;
    directory::install_verbs(lua, &inner(lua, verbs, "Directory")?)?;
    file_system::install_verbs(lua, runtime, &inner(lua, verbs, "fs")?)
}

fn install_direct(lua: &Lua, runtime: &Rc<Runtime>, direct: &Table) -> mlua::Result<()> {
    file_handle::install(lua, runtime, &inner(lua, direct, "FileHandle")?)?;
    socket::install(lua, runtime, &inner(lua, direct, "Socket")?)?;
    status::install(lua, runtime, &inner(lua, direct, "Status")?)?;
    channel::install(lua, &inner(lua, direct, "Channel")?)?;
    directory::install(lua, &inner(lua, direct, "Directory")?)?;
    let start = runtime.now();
    tasks::install_methods(lua, runtime, &inner(lua, direct, "Task")?, start)?;
    scheduler::install(lua, runtime, &inner(lua, direct, "Scheduler")?, start)
}
