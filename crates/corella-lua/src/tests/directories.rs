//! Directories that are read name by name.

use super::passes;

#[test]
fn names_come_one_by_one_and_places_are_found_again() {
    passes(
        r#"
        fs.mkdir(path)
        for number = 1, 700 do FileHandle.open(path .. "/" .. number, "w"):close() end
        local directory <close> = fs.opendir(path)
        assert(directory:telldir() == 0)
        local names = {}
        for entry in directory:entries() do
            names[#names + 1] = entry.name
            assert(entry.kind == "file")
        end
        assert(#names == 700 and directory:telldir() == 700 and directory:readdir() == nil)
        directory:seekdir(350)
        assert(directory:readdir().name == names[351] and directory:telldir() == 351)
        directory:seekdir(1000)
        assert(directory:telldir() == 700)
        directory:rewinddir()
        assert(directory:telldir() == 0)
        -- A place that has not been read yet.
        directory:seekdir(600)
        assert(directory:telldir() == 600 and directory:readdir())
        fails("place: must not be negative", directory.seekdir, directory, -1)
        for _, name in ipairs(names) do fs.unlink(path .. "/" .. name) end
        fs.rmdir(path)
        "#,
    );
}

#[test]
fn a_directory_has_all_forms_of_a_call() {
    passes(
        r#"
        fs.mkdir(path)
        FileHandle.open(path .. "/only", "w"):close()
        local seen = {}
        local opened = fs.opendir(path, function(status)
            local directory = status:result()
            local first, second = directory:readdir({ async = true }), directory:readdir({ async = true })
            seen[1], seen[2] = first:wait().name, second:wait()
            directory:close()
        end)
        Scheduler.run()
        assert(seen[1] == "only" and seen[2] == nil and opened:result():is_closed())
        local directory = fs.opendir(path)
        directory:closedir()
        fails("the directory is closed", directory.closedir, directory)
        fails("the directory is closed", directory.readdir, directory)
        fails("the directory is closed", directory.telldir, directory)
        fails("the directory is closed", directory.rewinddir, directory)
        fails("No such file or directory", fs.opendir, path .. "/none")
        fails("Not a directory", fs.opendir, path .. "/only")
        fails("a Directory is expected", directory.readdir, 1)
        fs.unlink(path .. "/only")
        fs.rmdir(path)
        "#,
    );
}

#[test]
fn links_are_made() {
    passes(
        r#"
        FileHandle.open(path, "w"):close()
        fs.link(path, path .. ".second")
        assert(fs.stat(path).links == 2)
        fs.symlink(path, path .. ".symbolic")
        assert(fs.readlink(path .. ".symbolic") == path and fs.lstat(path .. ".symbolic").kind == "link")
        fs.sync("/tmp")
        fs.unlink(path .. ".second")
        fs.unlink(path .. ".symbolic")
        fails("to: a path is expected", fs.link, path)
        "#,
    );
}
