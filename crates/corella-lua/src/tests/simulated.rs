//! Scripts on a simulated machine.

use std::cell::RefCell;
use std::rc::Rc;

use corella::Simulation;

use crate::Host;

/// Runs a script on a machine of this seed; gives its exit code, what it reported, and the machine's history.
fn run(seed: u64, source: &str) -> (i32, Vec<String>, u64) {
    let machine = Simulation::new(seed);
    let reports = Rc::new(RefCell::new(Vec::new()));
    let reported = Rc::clone(&reports);
    let mut host = Host::simulated(&machine, move |report| reported.borrow_mut().push(report.to_string())).unwrap();
    let code = host.run("script.lua", source.as_bytes(), &[]);
    drop(host);
    let reports = reports.borrow().clone();
    (code, reports, machine.history())
}

fn passes(source: &str) {
    let (code, reports, _) = run(7, source);
    assert_eq!((code, reports), (0, Vec::new()));
}

#[test]
fn tables_are_gone_through_by_the_order_of_their_keys() {
    passes(
        r#"
        local list = { zebra = 1, ant = 2, [3] = "c", [1] = "a", [2.5] = "b", [true] = 0, [false] = 0, middle = 3 }
        local seen = {}
        for key, value in pairs(list) do
            assert(list[key] == value)
            seen[#seen + 1] = tostring(key)
        end
        assert(table.concat(seen, " ") == "false true 1 2.5 3 ant middle zebra", table.concat(seen, " "))
        assert(next(list) == false and next(list, "zebra") == nil and next({}) == nil)
        "#,
    );
}

#[test]
fn a_table_may_lose_keys_while_it_is_gone_through() {
    passes(
        r#"
        local list, count = {}, 0
        for number = 1, 100 do list["key" .. number] = number end
        for key in pairs(list) do
            list[key] = nil
            count = count + 1
            for other in pairs(list) do list[other] = nil break end
        end
        assert(count == 50, count)
        assert(next(list) == nil)
        local answers = setmetatable({}, { __pairs = function() return function(_, key) return not key and 1 or nil end end })
        for key in pairs(answers) do assert(key == 1) end
        "#,
    );
}

#[test]
fn sorts_are_as_in_stock_lua() {
    passes(
        r#"
        local list = {}
        for number = 1, 500 do list[number] = math.random(1000) end
        table.sort(list)
        for number = 2, 500 do assert(list[number - 1] <= list[number]) end
        table.sort(list, function(one, other) return one > other end)
        for number = 2, 500 do assert(list[number - 1] >= list[number]) end
        assert(not pcall(table.sort, { 1, "x" }) and not pcall(table.sort, nil))
        "#,
    );
}

#[test]
fn time_and_random_numbers_are_the_machines() {
    passes(
        r#"
        assert(os.time() == 1577836800 and os.date("!%Y-%m-%d") == "2020-01-01")
        Scheduler.sleep(3600)
        assert(os.time() >= 1577840400 and os.clock() >= 3600 and Scheduler.now() >= 3600)
        assert(os.time({ year = 2000, month = 1, day = 1, hour = 12 }) < os.time())
        "#,
    );
    let numbers =
        |seed| run(seed, "error(math.random(1 << 40) .. ' ' .. (math.randomseed() or '') .. math.random(1 << 40))").1;
    assert_eq!(numbers(1), numbers(1));
    assert_ne!(numbers(1), numbers(2));
}

#[test]
fn a_seed_has_one_history_and_another_seed_another() {
    let script = r#"
        local listener = Socket.listen("10.0.0.1", 4000)
        listener:accept(function(accepted)
            local peer <close> = accepted:result()
            for line in peer:lines() do peer:send(line:upper() .. "\n") end
        end)
        local words = { one = 1, two = 2, three = 3, four = 4 }
        for word, number in pairs(words) do
            Scheduler.spawn(function()
                Scheduler.sleep(math.random() / 1000)
                local socket <close> = Socket.connect("10.0.0.1", 4000)
                socket:send(word .. "\n")
                local file <close> = FileHandle.open("/" .. word, "w")
                file:print(socket:readline() .. os.time() .. number)
            end)
        end
    "#;
    let histories: Vec<u64> = (0..20).map(|seed| run(seed, script).2).collect();
    let again: Vec<u64> = (0..20).map(|seed| run(seed, script).2).collect();
    assert_eq!(histories, again);
    let different: std::collections::BTreeSet<u64> = histories.into_iter().collect();
    assert_eq!(different.len(), 20);
    let (code, reports, _) = run(1, script);
    assert_eq!((code, reports), (0, Vec::new()));
}

#[test]
fn a_program_that_waits_for_ever_is_told_so() {
    let (code, reports, _) = run(1, "Socket.listen('10.0.0.1', 1):accept()");
    assert_eq!(code, 1);
    assert!(reports.iter().any(|report| report.contains("waits for ever")), "{reports:?}");
}
