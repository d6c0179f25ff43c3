//! Files that another process uses while they are open here.

use std::fs;

use corella::{File, Io, Mode, OpenOptions};

use crate::setup::Setup;
use crate::{another, codes, promises};

promises![
    another_process_reads_extends_renames_and_deletes_a_file_that_is_open,
    another_process_gives_the_name_of_a_file_that_is_open_to_a_new_one,
    another_process_puts_a_file_in_the_place_of_one_that_is_open,
];

/// Each way in which a file is held open here.
fn handles(io: &Io, path: &std::path::Path) -> [File; 3] {
    let both = OpenOptions::new().read(true).write(true);
    [io.open(path, both), io.open(path, Mode::Read), io.open(path, Mode::Append)].map(|open| open.wait().unwrap())
}

fn another_process_reads_extends_renames_and_deletes_a_file_that_is_open(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (path, renamed) = (setup.file("first", b""), setup.path("second"));
    let (first, second) = (path.to_str().unwrap(), renamed.to_str().unwrap());
    let [file, reader, log] = handles(&io, &path);
    file.write("content").wait().unwrap();
    another::runs(&["reads", first, "content", "appends", first, " and more"]);
    log.write(", and the last").wait().unwrap();
    assert_eq!(reader.read_to_end(Vec::new()).wait().unwrap().1, b"content and more, and the last");
    another::runs(&["renames", first, second, "reads", second, "content and more, and the last"]);
    file.write_at("C", 0).wait().unwrap();
    another::runs(&["reads", second, "Content and more, and the last", "deletes", second]);
    // It is there for those who have it open, and for nobody else once they are done.
    log.write("!").wait().unwrap();
    assert_eq!(file.read_exact_at(vec![0; 31], 0).wait().unwrap().1, b"Content and more, and the last!");
    for handle in [file, reader, log] {
        handle.close().wait().unwrap();
    }
    for path in [&path, &renamed] {
        assert_eq!(io.stat(path).wait().unwrap_err().os_code(), Some(codes::ENOENT));
    }
}

fn another_process_gives_the_name_of_a_file_that_is_open_to_a_new_one(setup: &Setup) {
    let scheduler = setup.scheduler();
    let path = setup.file("file", b"old");
    let name = path.to_str().unwrap();
    let held = handles(&scheduler.io(), &path);
    another::runs(&["deletes", name, "writes", name, "new"]);
    assert_eq!(held[1].read_to_end(Vec::new()).wait().unwrap().1, b"old");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

fn another_process_puts_a_file_in_the_place_of_one_that_is_open(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (path, fresh) = (setup.file("file", b"old"), setup.path("fresh"));
    let (name, other) = (path.to_str().unwrap(), fresh.to_str().unwrap());
    let held = handles(&scheduler.io(), &path);
    another::runs(&["writes", other, "new", "renames", other, name]);
    assert_eq!(held[1].read_to_end(Vec::new()).wait().unwrap().1, b"old");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}
