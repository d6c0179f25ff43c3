//! Files under the names that systems allow, and those that other programs use meanwhile.

use std::fs;

use corella::Mode;

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    a_file_that_is_open_may_be_read_renamed_and_deleted_by_others,
    a_name_of_any_script_and_a_path_of_any_length_is_a_files,
    a_sync_needs_what_the_system_needs_for_it_and_says_so,
    #[cfg(windows)]
    a_name_that_is_a_devices_or_nobodys_is_answered,
    a_name_that_is_no_unicode_is_taken_as_it_is,
];

fn a_file_that_is_open_may_be_read_renamed_and_deleted_by_others(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (path, renamed) = (setup.path("first"), setup.path("second"));
    let file = io.open(&path, Mode::Write).wait().unwrap();
    let reader = io.open(&path, Mode::Read).wait().unwrap();
    file.write("content").wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"content");
    fs::rename(&path, &renamed).unwrap();
    file.write(" and more").wait().unwrap();
    assert_eq!(fs::read(&renamed).unwrap(), b"content and more");
    fs::remove_file(&renamed).unwrap();
    // It is there for those who have it open, and for nobody else once they are done.
    file.write_at("C", 0).wait().unwrap();
    assert_eq!(reader.read_to_end(Vec::new()).wait().unwrap().1, b"Content and more");
    file.close().wait().unwrap();
    reader.close().wait().unwrap();
    for path in [&path, &renamed] {
        assert_eq!(io.stat(path).wait().unwrap_err().os_code(), Some(codes::ENOENT));
    }
}

fn a_name_of_any_script_and_a_path_of_any_length_is_a_files(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    // Longer in all than the 260 characters that Windows once had for a path.
    let mut folder = setup.path("größer");
    io.make_directory(&folder).wait().unwrap();
    for _ in 0..4 {
        folder.push("długa-nazwa-".repeat(6));
        io.make_directory(&folder).wait().unwrap();
    }
    let names = ["файл", "文件", "ملف", "🦀 and spaces", "e\u{301}"];
    for name in names {
        let path = folder.join(name);
        let file = io.open(&path, Mode::Write).wait().unwrap();
        file.write(name).wait().unwrap();
        file.close().wait().unwrap();
        assert_eq!(io.stat(&path).wait().unwrap().size, name.len() as u64);
        let moved = folder.join(format!("{name}-moved"));
        io.rename(&path, &moved).wait().unwrap();
        let file = io.open(&moved, Mode::Read).wait().unwrap();
        assert_eq!(file.read_to_end(Vec::new()).wait().unwrap().1, name.as_bytes());
    }
    let mut listed: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    listed.sort();
    let mut expected: Vec<_> = names.iter().map(|name| std::ffi::OsString::from(format!("{name}-moved"))).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for name in &listed {
        io.unlink(folder.join(name)).wait().unwrap();
    }
    io.remove_directory(&folder).wait().unwrap();
}

fn a_sync_needs_what_the_system_needs_for_it_and_says_so(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let file = io.open(&path, Mode::ReadWrite).wait().unwrap();
    file.sync().wait().unwrap();
    let reader = io.open(&path, Mode::Read).wait().unwrap();
    let synced = reader.sync().wait();
    if cfg!(unix) {
        return synced.unwrap();
    }
    // Windows wants a handle that may write.
    let error = synced.unwrap_err();
    assert_eq!(error.to_string(), format!("sync of {}: {}", path.display(), codes::text(codes::EBADF)));
    assert_eq!(reader.read(vec![0; 7]).wait().unwrap().1, b"content");
}

#[cfg(windows)]
fn a_name_that_is_a_devices_or_nobodys_is_answered(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    for name in ["NUL", "nul"] {
        let nowhere = io.open(name, Mode::ReadWrite).wait().unwrap();
        assert_eq!(nowhere.write("gone").wait().unwrap().0, 4);
        assert_eq!(nowhere.read(vec![0; 4]).wait().unwrap().0, 0);
        nowhere.close().wait().unwrap();
    }
    // Consoles and serial lines are here or not.
    for name in ["CON", "PRN", "AUX", "COM1", "LPT1", "COM1.txt"] {
        match io.open(name, Mode::Read).wait() {
            Ok(device) => device.close().wait().unwrap(),
            Err(error) => assert!(error.os_code().is_some() && error.to_string().contains(name), "{error}"),
        }
    }
    for name in ["a<b", "a>b", "a|b", "a?b", "a*b", "a\"b"] {
        let error = io.open(setup.path(name), Mode::Write).wait().unwrap_err();
        assert!(error.os_code().is_some() && error.to_string().contains(name), "{error}");
    }
    // Dots and spaces at the end are not of a name.
    for (name, kept) in [("dots...", "dots"), ("spaces  ", "spaces")] {
        io.open(setup.path(name), Mode::Write).wait().unwrap().close().wait().unwrap();
        let listed = fs::read_dir(setup.path("")).unwrap().any(|entry| entry.unwrap().file_name() == kept);
        assert!(listed, "{name:?} is not {kept:?}");
    }
}

fn a_name_that_is_no_unicode_is_taken_as_it_is(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    #[cfg(unix)]
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![b'a', 0xFF]);
    #[cfg(windows)]
    let name: std::ffi::OsString = std::os::windows::ffi::OsStringExt::from_wide(&[u16::from(b'a'), 0xD800]);
    let path = setup.path(name);
    // It is for the file system to refuse it.
    match io.open(&path, Mode::Write).wait() {
        Ok(file) => {
            file.write("content").wait().unwrap();
            file.close().wait().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"content");
            assert_eq!(io.stat(&path).wait().unwrap().size, 7);
        }
        Err(error) => assert!(error.os_code().is_some(), "{error}"),
    }
}
