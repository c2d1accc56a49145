//! The test that every binary has to pass, even if it runs only under an emulator here. `.ci/run`
//! names such binaries in `WX_UPLOAD_BIN`.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The Windows binary, if it is the one under test. `.ci/run` calls it by a script, through Wine.
fn windows_binary() -> Option<PathBuf> {
    let script = fs::read(binary()).unwrap();
    let script = script.strip_suffix(b".exe\" \"$@\"\n")?;
    let script = String::from_utf8(script.to_vec()).unwrap();
    let (_, path) = script.rsplit_once('"').unwrap();
    Some(format!("{path}.exe").into())
}

#[test]
fn a_quote_that_a_backslash_keeps_open_is_explained_on_windows() {
    let is_windows = cfg!(windows) || windows_binary().is_some();
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

/// The name that a path has under Wine.
fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\"))
}

/// A directory with the binary, its libraries, the config and the scripts for Windows, as in the
/// archive.
fn unpack_archive(world: &World, binary: &Path) -> PathBuf {
    let root = world.path("wx-upload");
    fs::create_dir_all(root.join("docs/editors")).unwrap();
    for file in fs::read_dir(binary.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        if file == binary || file.extension().is_some_and(|extension| extension == "dll") {
            fs::copy(&file, root.join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::rename(world.path("config.json"), root.join("config.json")).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in [
        (".ci/windows/upload.bat", "upload.bat"),
        (
            "docs/editors/wx-upload-editor.cmd",
            "docs/editors/wx-upload-editor.cmd",
        ),
    ] {
        let script = fs::read_to_string(repository.join(from)).unwrap();
        fs::write(root.join(to), script.replace('\n', "\r\n")).unwrap();
    }
    root
}

/// Runs a script under Wine, with the directory `npm` in the PATH, as editors do: in a directory with
/// another program's config. Returns the exit status and standard output.
fn run_script(world: &World, script: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    world.file("editor/config.json", "{}");
    let script = windows_path(script);
    let mut words = vec!["cmd", "/c", &script];
    words.extend(arguments);
    let mut command = world.command_of(Path::new("wine"), words);
    command.env("WINEPATH", windows_path(&world.path("npm")));
    let output = command.current_dir(world.path("editor")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), stdout.replace('\r', ""))
}

#[test]
fn the_scripts_for_windows_upload_what_they_are_given() {
    let Some(binary) = windows_binary() else {
        return;
    };
    let world = World::with_files(&["notes/图 1.png", "notes/b & c.png"]);
    let root = unpack_archive(&world, &binary);
    let note = |name| windows_path(&world.path("notes").join(name));
    let [one, two, gone] = ["图 1.png", "b & c.png", "gone.png"].map(note);
    let editor = root.join("docs/editors/wx-upload-editor.cmd");

    let (status, stdout) = run_script(&world, &editor, &["upload", &one, &two]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 2), "{stdout}");
    let keys = world.keys();
    assert!(keys[0].starts_with("temp3/b & c-") && keys[1].starts_with("temp3/图 1-"));
    let (status, stdout) = run_script(&world, &editor, &["u", &one]);
    let (_, link) = stdout.split_once("[PicGo SUCCESS]:\n").unwrap();
    assert_eq!((status, link.lines().count()), (Some(0), 1), "{stdout}");
    let failed = run_script(&world, &editor, &["upload", &gone]);
    assert_eq!(failed, (Some(2), "PicGo ERROR\n".to_owned()));

    let (_, stdout) = run_script(&world, &root.join("upload.bat"), &[&one]);
    assert!(stdout.starts_with("图 1.png\thttp"), "{stdout}");
    assert!(world.keys().contains(&"temp3/图 1.png".to_owned()));
    world.file("notes/inner/c.png", "3");
    let notes = windows_path(&world.path("notes"));
    run_script(&world, &root.join("upload.bat"), &[&notes]);
    assert!(world.keys().contains(&"temp3/inner/c.png".to_owned()));
    world.assert_proper();
}

#[test]
fn the_script_for_windows_finds_a_program_that_npm_installed() {
    let Some(binary) = windows_binary() else {
        return;
    };
    let world = World::with_files(&["notes/a b.png"]);
    let root = unpack_archive(&world, &binary);
    // npm puts a script on the PATH, and the program elsewhere.
    let modules = world.path("npm/node_modules");
    fs::create_dir_all(&modules).unwrap();
    for file in fs::read_dir(&root).unwrap() {
        let file = file.unwrap().path();
        if file
            .extension()
            .is_some_and(|extension| extension == "exe" || extension == "dll")
        {
            fs::rename(&file, modules.join(file.file_name().unwrap())).unwrap();
        }
    }
    let program = windows_path(&modules.join(binary.file_name().unwrap()));
    world.file("npm/wx-upload.cmd", format!("@\"{program}\" %*\r\n"));
    let editor = root.join("docs/editors/wx-upload-editor.cmd");
    let picture = windows_path(&world.path("notes/a b.png"));
    let (status, stdout) = run_script(&world, &editor, &["upload", &picture]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 1), "{stdout}");
    assert!(world.keys()[0].starts_with("temp3/a b-"));
}
