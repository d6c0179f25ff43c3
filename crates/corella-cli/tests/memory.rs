//! How much memory scripts take: for callbacks nothing that stays, for a sleeping task little.

#![cfg(unix)]

mod corella;

use corella::{BACKENDS, corella, end_of};

/// What a script prints, run as text.
fn printed(backend: &str, script: &str) -> Vec<i64> {
    let ended = end_of(corella().args(["run", "-e", script]).env("CORELLA_BACKEND", backend));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    ended.stdout.lines().map(|line| line.parse().unwrap()).collect()
}

/// `resident()`: what the process has resident, in KiB, after a collection.
const RESIDENT: &str = "
    local function resident()
        collectgarbage() collectgarbage()
        for line in FileHandle.open('/proc/self/status'):lines() do
            local size = line:match('^VmRSS:%s*(%d+)')
            if size then return math.tointeger(size) end
        end
    end ";

#[test]
fn callbacks_leave_nothing_behind_however_many() {
    let script = format!(
        "{RESIDENT}
        local function call(count)
            local left, running = count, 0
            local function again()
                running = running - 1
                if left > 0 then left, running = left - 1, running + 1 Scheduler.sleep(0, again) end
            end
            for _ = 1, 100 do running = running + 1 Scheduler.sleep(0, again) end
            while running > 0 do Scheduler.sleep(0.01) end
        end
        call(20000)
        print(resident())
        call(60000)
        print(resident())"
    );
    for backend in BACKENDS {
        let sizes = printed(backend, &script);
        assert!(sizes[1] - sizes[0] < 512, "{backend}: {sizes:?} KiB");
    }
}

#[test]
fn a_hundred_thousand_sleeping_tasks_take_less_than_two_hundred_mebibytes() {
    let script = format!(
        "{RESIDENT}
        print(resident())
        for _ = 1, 100000 do Scheduler.spawn(function() Scheduler.sleep(3600) end) end
        Scheduler.sleep(0.01)
        print(resident())
        assert(Scheduler.active_tasks() == 100001)
        os.exit(0)"
    );
    for backend in BACKENDS {
        let sizes = printed(backend, &script);
        assert!(sizes[1] - sizes[0] < 204_800, "{backend}: {sizes:?} KiB");
    }
}
