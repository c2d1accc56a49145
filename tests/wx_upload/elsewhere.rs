//! The test that every binary has to pass, even if it runs only under an emulator here. `.ci/run`
//! names such binaries in `WX_UPLOAD_BIN`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use stand_in::Step;

use crate::harness::{World, full_path, install_program, judges_windows};

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
    let is_windows = judges_windows();
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

/// A directory with the binary, its libraries, the config and the scripts for Windows, as in the
/// archive.
fn unpack_archive(world: &World) -> PathBuf {
    let root = world.path("wx-upload");
    fs::create_dir_all(root.join("docs/editors")).unwrap();
    install_program(&root);
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

/// cmd, which is to run this.
fn cmd(world: &World, words: &[&str]) -> Command {
    let (program, first) = if cfg!(windows) {
        ("cmd", None)
    } else {
        ("wine", Some("cmd"))
    };
    world.command_of(Path::new(program), first.iter().chain(words))
}

/// Runs a script, with the directory `npm` in the PATH, as editors do: in a directory with another
/// program's config. Returns the exit status and standard output.
fn run_script(world: &World, script: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let script = full_path(script);
    let mut words = vec!["/c", &script];
    words.extend(arguments);
    let mut command = cmd(world, &words);
    let npm = full_path(&world.path("npm"));
    if cfg!(windows) {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{npm};{path}"));
    } else {
        command.env("WINEPATH", npm);
    }
    output_of(world, command)
}

/// Runs `upload.bat` as Explorer does with what is dropped on it.
fn drop_on_script(world: &World, script: &Path, dropped: &str) -> (Option<i32>, String) {
    let script = full_path(script);
    let line = format!(r#"/c ""{script}" {dropped}""#);
    #[cfg(windows)]
    let command = {
        use std::os::windows::process::CommandExt;
        let mut command = cmd(world, &[]);
        command.raw_arg(line);
        command
    };
    // Wine's cmd does not know %cmdcmdline%. What it is given here, it takes apart as another one would.
    #[cfg(not(windows))]
    let command = {
        let words = dropped.split(' ').filter(|word| !word.contains('"'));
        let words: Vec<&str> = ["/c", &script].into_iter().chain(words).collect();
        let mut command = cmd(world, &words);
        command.env("CMDCMDLINE", format!(r"C:\Windows\system32\cmd.exe {line}"));
        command
    };
    output_of(world, command)
}

/// Runs the command in a directory with another program's config. Returns its exit status and standard
/// output.
fn output_of(world: &World, mut command: Command) -> (Option<i32>, String) {
    world.file("editor/config.json", "{}");
    let temporary = world.path("temporary");
    fs::create_dir_all(&temporary).unwrap();
    let variable = if cfg!(windows) { "TEMP" } else { "WINETEMP" };
    command.env(variable, full_path(&temporary));
    let output = command.current_dir(world.path("editor")).output().unwrap();
    let left = fs::read_dir(temporary).unwrap();
    assert_eq!(left.count(), 0, "the script leaves no temporary files");
    let stdout = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), stdout.replace('\r', ""))
}

#[test]
fn the_scripts_for_windows_upload_what_they_are_given() {
    if !judges_windows() {
        return;
    }
    let world = World::with_files(&["notes/图 1.png", "notes/b & c.png"]);
    let root = unpack_archive(&world);
    let note = |name| full_path(&world.path("notes").join(name));
    let [one, two, gone] = ["图 1.png", "b & c.png", "gone.png"].map(note);
    let editor = root.join("docs/editors/wx-upload-editor.cmd");

    let (status, stdout) = run_script(&world, &editor, &["upload", &one, &two]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 2), "{stdout}");
    let keys = world.keys();
    assert!(keys[0].starts_with("temp3/b & c-") && keys[1].starts_with("temp3/图 1-"));
    let (status, stdout) = run_script(&world, &editor, &["u", &one]);
    let (_, link) = stdout.split_once("[PicGo SUCCESS]:\n").unwrap();
    assert_eq!((status, link.lines().count()), (Some(0), 1), "{stdout}");
    for word in ["u", "upload"] {
        let (status, stdout) = run_script(&world, &editor, &[word, &gone]);
        let is_told = stdout.starts_with("[PicGo ERROR]: error: ") && stdout.contains("gone.png");
        assert!(status == Some(2) && is_told, "{stdout}");
    }
    let failed = run_script(&world, &editor, &[&gone]);
    assert_eq!(failed, (Some(2), String::new()));
    let (status, stdout) = run_script(&world, &editor, &["upload"]);
    let is_told = stdout.starts_with("[PicGo ERROR]: ") && stdout.contains("clipboard");
    assert!(status == Some(2) && is_told, "{stdout}");

    let (_, stdout) = run_script(&world, &root.join("upload.bat"), &[&one]);
    assert!(stdout.starts_with("图 1.png\thttp"), "{stdout}");
    assert!(world.keys().contains(&"temp3/图 1.png".to_owned()));
    world.file("notes/inner/c.png", "3");
    let notes = full_path(&world.path("notes"));
    run_script(&world, &root.join("upload.bat"), &[&notes]);
    assert!(world.keys().contains(&"temp3/inner/c.png".to_owned()));
    world.assert_proper();
}

#[test]
fn what_is_dropped_on_the_script_for_windows_is_uploaded_and_nothing_else() {
    if !judges_windows() {
        return;
    }
    let world = World::with_files(&[
        "图片&视频/v.png",
        "图片/private.png",
        "R&D.png",
        "x^y.png",
        "a,b;c=d.png",
        "wow!.png",
        "two words & (more).png",
        "all/1.png",
    ]);
    let script = unpack_archive(&world).join("upload.bat");
    let path = |name| full_path(&world.path(name));
    let names = [
        "图片&视频/v.png",
        "R&D.png",
        "x^y.png",
        "a,b;c=d.png",
        "wow!.png",
        "all",
    ];
    let unquoted = names.map(path).join(" ");
    let quoted = path("two words & (more).png");
    let (status, stdout) = drop_on_script(&world, &script, &format!(r#"{unquoted} "{quoted}""#));
    assert_eq!(status, Some(0), "{stdout}");
    let expected = [
        "1.png",
        "R&D.png",
        "a,b;c=d.png",
        "two words & (more).png",
        "v.png",
        "wow!.png",
        "x^y.png",
    ];
    assert_eq!(world.keys(), expected.map(|name| format!("temp3/{name}")));

    let (status, stdout) = drop_on_script(&world, &script, &format!(r#""{quoted}" {unquoted}"#));
    assert_eq!(
        (status, world.keys().len()),
        (Some(0), expected.len()),
        "{stdout}"
    );
    world.assert_proper();
}

#[test]
fn a_double_click_on_the_script_for_windows_uploads_the_directory_of_the_config() {
    if !judges_windows() {
        return;
    }
    let world = World::with_files(&["wx-upload/pictures/a.png", "wx-upload/pictures/in/b.png"]);
    world.configure(json!({"upload_dir": "pictures"}));
    let script = unpack_archive(&world).join("upload.bat");
    let (status, stdout) = drop_on_script(&world, &script, "");
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(world.keys(), ["temp3/a.png"]);
}

#[test]
fn the_script_for_windows_finds_a_program_that_npm_installed() {
    if !judges_windows() {
        return;
    }
    let world = World::with_files(&["notes/a b.png"]);
    let root = unpack_archive(&world);
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
    let program = full_path(&modules.join("wx-upload.exe"));
    world.file("npm/wx-upload.cmd", format!("@\"{program}\" %*\r\n"));
    let editor = root.join("docs/editors/wx-upload-editor.cmd");
    let picture = full_path(&world.path("notes/a b.png"));
    let (status, stdout) = run_script(&world, &editor, &["upload", &picture]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 1), "{stdout}");
    assert!(world.keys()[0].starts_with("temp3/a b-"));
}
