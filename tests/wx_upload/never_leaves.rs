//! What must never leave this machine, or only if the user names it: a table.

use std::fs;
use std::path::Path;

use serde_json::json;
use stand_in::{SECRET, Step};
use tempfile::TempDir;

use crate::harness::{World, judges_windows, side_by_side};

use Outcome::{Error, Note, Uploaded};

const TOKEN: &str = "92_a-token-that-is-in-use_0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ";

/// What a run does with a file.
#[derive(Clone, Copy)]
enum Outcome {
    Uploaded,
    /// It is skipped with a note that has these words. The exit status is 0.
    Note(&'static str),
    /// It fails with an error that has these words. The exit status is 1.
    Error(&'static str),
}

/// How a run comes to a file.
#[derive(Clone, Copy, Debug)]
enum Way {
    Named,
    Found,
    FoundWithR,
    /// A link to it was found.
    LinkFound,
    /// A link to it was named.
    LinkNamed,
}

#[cfg(unix)]
const WAYS: [Way; 5] = [
    Way::Named,
    Way::Found,
    Way::FoundWithR,
    Way::LinkFound,
    Way::LinkNamed,
];
#[cfg(not(unix))]
const WAYS: [Way; 3] = [Way::Named, Way::Found, Way::FoundWithR];

// The outcomes of the ways, in their order.
type Outcomes = [Outcome; 5];
const PLAIN: Outcomes = [Uploaded; 5];
const OWN: Outcomes = [Note("never uploaded"); 5];
const COPY: Outcomes = named(
    Error("the config, its copies and the manifest of this run are never uploaded"),
    "never uploaded",
    "never uploaded",
);
const SECRETIVE: Outcomes = [Error("never uploaded"); 5];
const HIDDEN: Outcomes = named(Uploaded, "hidden (", LINK);
const OF_SYSTEM: Outcomes = named(Uploaded, "put there by the system (", LINK);
const LINK: &str = "a link to what is hidden or the system's (";
#[cfg(unix)]
const ODD: Outcomes = named(
    Error("not a regular file"),
    "not a regular file",
    "not a regular file",
);
#[cfg(unix)]
const OUTSIDE: Outcomes = named(Uploaded, LEADS_OUT, LEADS_OUT);
#[cfg(unix)]
const DEVICE: Outcomes = named(Error("not a regular file"), LEADS_OUT, LEADS_OUT);
#[cfg(unix)]
const LEADS_OUT: &str = "a link that leads out of the directory";
#[cfg(unix)]
const DIRECTORY: Outcomes = named(Uploaded, "a link to a directory", "a link to a directory");

/// One outcome if the user names the file or a link to it, and notes if it is found.
const fn named(outcome: Outcome, found: &'static str, link: &'static str) -> Outcomes {
    [outcome, Note(found), Note(found), Note(link), outcome]
}

/// What lies at a path.
enum Kind {
    File(Vec<u8>),
    /// The config, which is there, or the manifest, which the run makes.
    Own,
    #[cfg(any(windows, target_os = "macos"))]
    MarkedHidden,
    #[cfg(unix)]
    Fifo,
    #[cfg(unix)]
    Socket,
    #[cfg(unix)]
    LinkTo(&'static str),
    /// A link to this path in another directory, which is not below the first one.
    #[cfg(unix)]
    LinkOutTo(&'static str),
}

/// A path, what lies there, and what becomes of it.
type Row = (&'static str, Kind, Outcomes);

fn text(text: impl Into<String>) -> Kind {
    Kind::File(text.into().into_bytes())
}

/// The rows that hold on all systems.
fn table() -> Vec<Row> {
    let other = json!({ "appid": "wx1", "secret": "another account's" }).to_string();
    let utf16 = format!("\u{feff}{SECRET}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    vec![
        ("config.json", Kind::Own, OWN),
        ("sent.jsonl", Kind::Own, OWN),
        ("config.json.bak", text("x"), COPY),
        ("config.json~", text("x"), COPY),
        ("config.json.png", text("x"), COPY),
        ("config.json (1)", text("x"), COPY),
        ("config.json - 副本", text("x"), COPY),
        (".config.json.swp", text("x"), COPY),
        ("#config.json#", text("x"), COPY),
        ("CONFIG.JSON.BAK", text("x"), COPY),
        ("app.log", text(format!("secret={SECRET}&x")), SECRETIVE),
        ("token.txt", text(TOKEN), SECRETIVE),
        ("powershell.txt", Kind::File(utf16), SECRETIVE),
        ("old.json", text(other), SECRETIVE),
        (".env", text("x"), HIDDEN),
        (".git/config", text("x"), HIDDEN),
        (".ssh/id_rsa", text("x"), HIDDEN),
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", text("x"), OF_SYSTEM),
        ("#recycle/a.jpg", text("x"), OF_SYSTEM),
        ("#snapshot/1/a.jpg", text("x"), OF_SYSTEM),
        ("@Recycle/a.jpg", text("x"), OF_SYSTEM),
        ("$RECYCLE.BIN/S-1-5/$R1.jpg", text("x"), OF_SYSTEM),
        ("$Recycle.Bin/a.jpg", text("x"), OF_SYSTEM),
        ("System Volume Information/a", text("x"), OF_SYSTEM),
        ("lost+found/a", text("x"), OF_SYSTEM),
        ("Thumbs.db", text("x"), OF_SYSTEM),
        ("thumbs.db", text("x"), OF_SYSTEM),
        ("desktop.ini", text("x"), OF_SYSTEM),
        ("~$报告.docx", text("x"), OF_SYSTEM),
        // These may leave.
        ("config.json2", text("x"), PLAIN),
        ("my-config.json", text("x"), PLAIN),
        ("a.env", text("x"), PLAIN),
    ]
}

/// The rows that hold on this system alone.
fn table_of_system() -> Vec<Row> {
    #[cfg(unix)]
    let rows = vec![
        ("fifo", Kind::Fifo, ODD),
        ("socket", Kind::Socket, ODD),
        ("device", Kind::LinkTo("/dev/null"), DEVICE),
        ("out", Kind::LinkOutTo("a.txt"), OUTSIDE),
        ("out-to-hidden", Kind::LinkOutTo(".ssh/id_rsa"), OUTSIDE),
        ("out-to-directory", Kind::LinkOutTo("sub"), DIRECTORY),
        #[cfg(target_os = "macos")]
        ("marked.txt", Kind::MarkedHidden, HIDDEN),
        #[cfg(target_os = "linux")] // elsewhere this is the config itself
        ("Config.JSON", text("x"), COPY),
    ];
    #[cfg(not(unix))]
    let rows = vec![("marked.txt", Kind::MarkedHidden, HIDDEN)];
    rows
}

/// Makes what a row needs, in a directory `sub` with the config. `outside` is another directory.
fn make(path: &Path, kind: &Kind, outside: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        Kind::File(bytes) => fs::write(path, bytes).unwrap(),
        Kind::Own => {}
        #[cfg(any(windows, target_os = "macos"))]
        Kind::MarkedHidden => mark_hidden(path),
        #[cfg(unix)]
        Kind::Fifo => crate::unix::make_fifo(path),
        #[cfg(unix)]
        Kind::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        #[cfg(unix)]
        Kind::LinkTo(target) => std::os::unix::fs::symlink(target, path).unwrap(),
        #[cfg(unix)]
        Kind::LinkOutTo(name) => {
            for name in ["a.txt", ".ssh/id_rsa", "sub/a.txt"] {
                let file = outside.join(name);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "x").unwrap();
            }
            std::os::unix::fs::symlink(outside.join(name), path).unwrap();
        }
    }
    let _ = outside; // only links lead there
}

#[cfg(any(windows, target_os = "macos"))]
fn mark_hidden(path: &Path) {
    fs::write(path, "x").unwrap();
    let (program, argument) = if cfg!(windows) {
        ("attrib", "+h")
    } else {
        ("chflags", "hidden")
    };
    let mut command = std::process::Command::new(program);
    assert!(command.arg(argument).arg(path).status().unwrap().success());
}

/// Runs the program over the row in this way, and checks what became of it.
fn check(path: &str, kind: &Kind, way: Way, outcome: Outcome) {
    let (world, outside) = (World::http(), TempDir::new().unwrap());
    world.save_token(TOKEN, json!({}));
    fs::create_dir(world.path("sub")).unwrap();
    fs::rename(world.path("config.json"), world.path("sub/config.json")).unwrap();
    make(&world.path("sub").join(path), kind, outside.path());
    #[cfg(unix)]
    std::os::unix::fs::symlink(Path::new("sub").join(path), world.path("link")).unwrap();
    let mut arguments = vec!["-c", "sub/config.json"];
    if path == "sent.jsonl" {
        arguments.extend(["--manifest", "sub/sent.jsonl"]);
        world.file("sub/sent.jsonl", "");
    }
    let named = format!("sub/{path}");
    let entry = path.split('/').next().unwrap();
    let (shown, more) = match way {
        Way::Named => (named.clone(), vec![named.as_str()]),
        Way::Found => (format!("sub/{entry}"), vec!["sub"]),
        Way::FoundWithR => (format!("sub/{entry}"), vec!["-r", "sub"]),
        Way::LinkFound => ("./link".to_owned(), vec!["."]),
        Way::LinkNamed => ("link".to_owned(), vec!["link"]),
    };
    arguments.extend(more);
    let ran = world.run(&arguments);
    let stderr = ran.stderr.replace('\\', "/"); // as Windows writes paths
    let (status, line, words) = match outcome {
        Uploaded => {
            assert_eq!(
                (ran.status, world.keys().len()),
                (Some(0), 1),
                "{arguments:?}: {stderr}"
            );
            return;
        }
        Note(words) => (0, format!("note: {shown}: skipped: "), words),
        Error(words) => (1, format!("error: {shown}: 上传文件失败: "), words),
    };
    assert_eq!(ran.status, Some(status), "{arguments:?}: {stderr}");
    let is_told = |told: &str| told.starts_with(&line) && told.contains(words);
    assert!(
        stderr.lines().any(is_told),
        "{arguments:?}: {line}{words}: {stderr}"
    );
    let sent = world.count(Step::Info) + world.count(Step::Upload);
    assert_eq!(sent, 0, "{arguments:?}: {:?}", world.keys());
}

#[test]
fn what_must_not_leave_this_machine_does_not() {
    let mut cases = Vec::new();
    let mut rows: Vec<Row> = table().into_iter().collect();
    // Wine shows no links as such, and no FIFOs.
    let is_wine = judges_windows() && !cfg!(windows);
    if !is_wine {
        rows.extend(table_of_system());
    }
    for (path, kind, outcomes) in &rows {
        for (way, outcome) in WAYS.into_iter().zip(*outcomes) {
            if is_wine && matches!(way, Way::LinkFound | Way::LinkNamed) {
                continue;
            }
            let case = (*path, kind, way, outcome);
            cases.push((format!("{path}, {way:?}"), case));
        }
    }
    side_by_side(cases, |(path, kind, way, outcome)| {
        check(path, kind, way, outcome)
    });
}

#[test]
fn what_is_named_fails_alone_and_the_others_go_on() {
    let world = World::with_files(&["good.txt", "config.json.bak", ".env", "conf/a.txt"]);
    let ran = world.run(["config.json", "config.json.bak", ".env", "good.txt", "conf"]);
    let words = [
        "note: config.json: skipped: ",
        "error: config.json.bak: 上传文件失败: ",
        "3 uploaded",
        "1 failed",
    ];
    ran.assert_failure(1, &words);
    assert_eq!(
        world.keys(),
        ["temp3/.env", "temp3/a.txt", "temp3/good.txt"]
    );
}

#[test]
fn a_whole_project_leaves_without_its_hidden_files() {
    let world = World::with_files(&[
        "index.html",
        ".env",
        ".git/config",
        "img/.git/x",
        "img/a.png",
    ]);
    let notes = |arguments: &[&str]| {
        let ran = world.run(arguments);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let notes = ran.stderr.lines().filter(|line| line.starts_with("note: "));
        notes
            .map(|line| line.replace('\\', "/"))
            .collect::<Vec<_>>()
    };
    let why = "skipped: hidden (give its path to upload it)";
    let own = "note: ./config.json: skipped: the config, its copies and the manifest of this run are never uploaded";
    let hidden = [
        format!("note: ./.env: {why}"),
        format!("note: ./.git: {why}"),
        own.to_owned(),
    ];
    let directory = "note: ./img: skipped: a directory (use -r to upload what is in it)".to_owned();
    assert_eq!(notes(&["."]), [&hidden[..], &[directory]].concat());
    assert_eq!(world.keys(), ["temp3/index.html"]);
    let deeper = format!("note: ./img/.git: {why}");
    assert_eq!(notes(&["-r", "."]), [&hidden[..], &[deeper]].concat());
    assert_eq!(world.keys(), ["temp3/img/a.png", "temp3/index.html"]);
}

#[test]
fn the_fixed_directory_gives_all_its_files_as_in_the_script() {
    let world = World::with_files(&["up/.env", "up/Thumbs.db", "up/~$a", "up/.git/x", "up/sub/x"]);
    world.configure(json!({ "upload_dir": "up" }));
    // No note promises that -r would upload what it would not.
    let ran = world.run([""; 0]);
    let stderr = ran.stderr.replace('\\', "/");
    assert!(
        stderr.contains("note: up/.git: skipped: hidden ("),
        "{stderr}"
    );
    assert!(
        stderr.contains("note: up/sub: skipped: a directory (use -r "),
        "{stderr}"
    );
    assert_eq!(world.keys(), ["temp3/.env", "temp3/Thumbs.db", "temp3/~$a"]);
    world.stand_in.objects();
    let ran = world.run(["-n", "-r"]);
    assert_eq!(ran.lines(), ["sub/x\ttemp3/sub/x"]);
}
