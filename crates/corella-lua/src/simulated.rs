//! Scripts on a simulated machine: the scheduler is the machine's, and whatever else a script could tell one run from
//! another by is the seed's: time, random numbers, and the order in which tables are gone through.

use std::rc::Rc;

use corella::Simulation;
use mlua::Lua;

use crate::host::{Host, StartError};
use crate::runtime::Runtime;

const SIMULATED: &str = include_str!("simulated.lua");

/// The second of 1970 at which a simulated machine's time begins: the first of January 2020.
const EPOCH_SECONDS: u64 = 1_577_836_800;

impl Host {
    /// A host on a simulated machine. `os.time`, `os.clock` and `Scheduler.now` are the machine's, random numbers come
    /// from its seed, and `pairs` and `next` go by the order of keys: false, true, numbers, texts, and then what is none
    /// of these by its address.
    ///
    /// ```
    /// let machine = corella::Simulation::new(7);
    /// let mut host = corella_lua::Host::simulated(&machine, |report| panic!("{report}"))?;
    /// assert_eq!(host.run("day.lua", b"Scheduler.sleep(86400) assert(Scheduler.now() >= 86400)", &[]), 0);
    /// # Ok::<(), corella_lua::StartError>(())
    /// ```
    pub fn simulated(machine: &Simulation, reporter: impl FnMut(&str) + 'static) -> Result<Host, StartError> {
        let scheduler = Host::settings().build_simulated(machine).map_err(StartError::Scheduler)?;
        // Before the host's own Lua side, which goes through tables too: what it makes has its addresses by that order.
        Host::on(scheduler, reporter, |lua, runtime| install(lua, runtime, machine))
    }
}

/// Puts what depends on the real machine under the simulated one's rule.
fn install(lua: &Lua, runtime: &Rc<Runtime>, machine: &Simulation) -> mlua::Result<()> {
    let offered = machine.clone();
    let random = lua.create_function(move |_, ()| Ok(offered.random() as i64))?;
    let clock = Rc::clone(runtime);
    let now = lua.create_function(move |_, ()| Ok(clock.now().as_secs_f64()))?;
    lua.load(SIMULATED).set_name("=[corella]").call((random, now, EPOCH_SECONDS))
}
