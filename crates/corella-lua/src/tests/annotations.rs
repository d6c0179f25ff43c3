//! The types for editors, `library/corella.lua`, beside what there is.

use super::{missing, passes};

#[test]
fn the_annotations_for_editors_name_everything_that_there_is() {
    let annotations = include_str!("../../library/corella.lua");
    let lacks = |class: &str, name: &str| {
        ![".", ":"].iter().any(|sign| annotations.contains(&format!("\nfunction {class}{sign}{name}(")))
    };
    assert_eq!(missing(lacks), Vec::<String>::new());
}

/// Every annotated function is there, its parameters are annotated one by one in their order, and a wrong argument in the place
/// of each is told of by the name that the annotation has.
#[test]
fn the_annotations_name_nothing_else_and_parameters_as_errors_do() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/library/corella.lua");
    passes(&format!(
        r#"
        local objects = {{
            FileHandle = FileHandle.new(), Socket = Socket.pair(), Status = Scheduler.sleep(0, {{ async = true }}),
            Channel = Scheduler.channel(), Task = Scheduler.spawn(print), Directory = fs.opendir("."),
        }}
        local right = {{ integer = 1, number = 1, string = "1", ["function"] = print, table = {{}}, ["corella.Task"] = objects.Task }}
        local wrong = coroutine.create(print)
        -- What errors call by another word, as "function" cannot be a name, or do not tell of.
        local words = {{
            ["spawn f"] = "function", ["timeout f"] = "function",
            ["lines separator"] = false, ["Socket.sockaddr host"] = "path", ["Channel:send value"] = false,
        }}
        local checked = 0
        local function check(class, sign, name, parameters, types)
            local called, values = class .. sign .. name, {{}}
            local call = _G[class] and _G[class][name] or objects[class] and objects[class][name]
            assert(type(call) == "function", called .. " is not there")
            for place, parameter in ipairs(parameters) do
                if parameter == "options" or parameter == "callback" or parameter == "..." then break end
                local word = words[called .. " " .. parameter]
                if word == nil then word = words[name .. " " .. parameter] end
                if word ~= false then
                    values[place] = wrong
                    local ok, problem = pcall(function()
                        if sign == ":" then return call(objects[class], table.unpack(values, 1, place)) end
                        return call(table.unpack(values, 1, place))
                    end)
                    local expected = ("bad argument #%d to '%s' (%s:"):format(place, name, word or parameter)
                    local object = "(a " .. (types[place]:match("^corella%.(%w+)$") or "-") .. " is expected"
                    local told = tostring(problem)
                    local is_told = not ok and (told:find(expected, 1, true) or told:find(object, 1, true))
                    assert(is_told, called .. " is annotated with " .. parameter .. ", and says: " .. told)
                    checked = checked + 1
                end
                values[place] = right[types[place]:match("^[%w.]+")]
            end
        end
        local names, types = {{}}, {{}}
        for line in FileHandle.open("{path}"):lines() do
            local name, kind = line:match("^%-%-%-@param ([%w_.]+)%??%s+(%S+)")
            local class, sign, called, parameters = line:match("^function (%w+)([.:])([%w_]+)%((.*)%) end$")
            if name then
                names[#names + 1], types[#types + 1] = name, kind
            elseif called then
                local annotated = table.concat(names, ", ")
                assert(annotated == parameters, called .. " has " .. parameters .. " and is annotated with " .. annotated)
                check(class, sign, called, names, types)
            end
            if not line:find("^%-%-%-") then names, types = {{}}, {{}} end
        end
        assert(checked > 40, checked)
        objects.Task:join()
        "#
    ));
}
