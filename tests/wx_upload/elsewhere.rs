//! The test that every binary has to pass, even if it runs only under an emulator here. `.ci/run`
//! names such binaries in `WX_UPLOAD_BIN`.

use std::fs;

use stand_in::Step;

use crate::harness::{World, binary};

#[test]
fn a_directory_with_chinese_names_goes_up_over_tls_and_only_once() {
    let files = [
        ("下 载/说明.txt", "怎么用"),
        ("空.bin", ""),
        ("小猫.jpg", "a picture"),
    ];
    let world = World::https();
    for (name, bytes) in files {
        world.file(format!("图片/{name}"), bytes);
    }
    let arguments = ["-r", "--manifest", "sent.jsonl", "-t", "云", "图片"];

    let first = world.run(arguments);
    first.assert_success();
    let objects = world.stand_in.objects();
    assert_eq!(objects.len(), files.len());
    for (name, bytes) in files {
        let object = &objects[&format!("云/{name}")];
        assert_eq!(object.bytes.as_deref(), Some(bytes.as_bytes()), "{name}");
    }

    let again = world.run(arguments);
    again.assert_success();
    assert_eq!(again.lines(), first.lines());
    assert_eq!(world.count(Step::Upload), files.len());
    assert_eq!(world.stand_in.tokens_issued().len(), 1);
    world.assert_proper();
}

#[test]
fn a_quote_that_a_backslash_keeps_open_is_explained_on_windows() {
    // `.ci/run` calls the Windows binary by a script.
    let is_windows = cfg!(windows) || fs::read(binary()).unwrap().ends_with(b".exe\" \"$@\"\n");
    let world = World::http();
    world.file("a.txt", "a");
    // This is what becomes of "D:\my pictures\" -r, and its like.
    for arguments in [
        ["a.txt", "D:\\my pictures\" -r"].as_slice(),
        &["a.txt", "-t", "img\\\""],
        &["-c", "config.json\" a.txt"],
        &["--manifest", "D:\\sent\" a.txt"],
    ] {
        let ran = world.run(arguments);
        let hint = "leave out the \\ before the closing \"";
        assert_eq!(ran.stderr.contains(hint), is_windows, "{}", ran.stderr);
        if is_windows {
            world.assert_refused(&ran, &[hint]);
        }
    }
}
