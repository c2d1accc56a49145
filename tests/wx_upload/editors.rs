//! Editors that upload pictures, each as it calls an uploader and reads its output.
//!
//! - Typora runs a command line in a shell, with a quoted path for each picture behind it. It takes the
//!   last lines of the output, one for each path.
//! - MarkText starts a program with one path, without a shell. It takes all of standard output. With
//!   its uploader PicGo it runs `picgo u "PATH"` in a shell, and takes what follows `[PicGo SUCCESS]:`.
//! - Obsidian's plugin Image auto upload runs a command line in a shell, with the word `upload` and
//!   quoted paths. It takes the lines before the end of standard output, one for each path, unless
//!   `PicGo ERROR` is in it. It does not look at the exit status.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stand_in::{Fault, Step, When};
use tempfile::TempDir;

use crate::documents::read;
use crate::harness::{Ran, World, binary};
use crate::shell::{link_program, shell};
use crate::unix::install;

const SCRIPT: &str = "wx-upload-editor.sh";
/// Where the script looks for a program that is installed, besides the PATH and the user's home.
const PLACES: &str = "/usr/local/bin:/opt/homebrew/bin";
/// The system's own programs that the script calls.
const CALLED: [&str; 2] = ["dirname", "readlink"];

/// A machine with the program, the script and the config in one directory, and an editor that runs in
/// another one, where another program has a `config.json`.
struct Desk {
    world: World,
    tools: PathBuf,
}

impl Desk {
    /// The directory of the program has this name.
    fn new(tools: &str) -> Desk {
        let world =
            World::with_files(&["notes/图 1.png", "notes/b (copy).png", "notes/$(x) `y`.png"]);
        world.file("editor/config.json", "{\"name\": \"of another program\"}");
        let tools = world.path(tools);
        fs::create_dir_all(&tools).unwrap();
        link_program(&tools);
        fs::rename(world.path("config.json"), tools.join("config.json")).unwrap();
        copy_script(&tools);
        let bin = world.path("bin");
        fs::create_dir(&bin).unwrap();
        for program in CALLED {
            symlink(find_program(program), bin.join(program)).unwrap();
        }
        Desk { world, tools }
    }

    /// The variables of an editor. The PATH has only what the script calls, so that a wx-upload of
    /// the tester is not found.
    fn variables(&self) -> [(&'static str, String); 3] {
        let path = |name| self.world.path(name).display().to_string();
        [
            ("PATH", path("bin")),
            ("HOME", path("home")),
            ("WX_LANG", "en".to_owned()),
        ]
    }

    fn script(&self) -> PathBuf {
        self.tools.join(SCRIPT)
    }

    fn note(&self, name: &str) -> String {
        self.world
            .path("notes")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Runs a command line as editors do.
    fn run(&self, line: &str) -> Ran {
        let command = shell(&self.world.path("editor"), line, &[]);
        self.finish(command)
    }

    /// The script with one path, without a shell.
    fn run_script(&self, path: String) -> Ran {
        let mut command = Command::new(self.script());
        command.arg(path).current_dir(self.world.path("editor"));
        self.finish(command)
    }

    fn finish(&self, mut command: Command) -> Ran {
        command.env_clear().envs(self.variables());
        self.world.finish(command)
    }

    /// Checks that the pictures with these names are in the cloud, and that `links` lead to them.
    fn assert_uploaded(&self, names: &[&str], links: &[&str]) {
        let objects = self.world.stand_in.objects();
        assert_eq!(
            (objects.len(), links.len()),
            (names.len(), names.len()),
            "{links:?}"
        );
        for (name, link) in names.iter().zip(links) {
            let (_, encoded) = link.split_once("/download/").expect("a link");
            let key = percent_encoding(encoded);
            let content = fs::read(self.world.path("notes").join(name)).unwrap();
            assert_eq!(objects[&key].bytes.as_ref(), Some(&content), "{link}");
        }
        self.world.assert_proper();
    }
}

/// Decodes a percent-encoded text.
fn percent_encoding(encoded: &str) -> String {
    let url = url::Url::parse(&format!("x://x/?{encoded}")).unwrap();
    let query = url.query().unwrap().replace('+', "%2B");
    let (decoded, _) = url::form_urlencoded::parse(query.as_bytes())
        .next()
        .unwrap();
    decoded.into_owned()
}

/// Puts the script into `directory`. It looks below HOME for a program that is installed for all
/// users, and not on the tester's machine.
fn copy_script(directory: &Path) {
    let text = read(&format!("docs/editors/{SCRIPT}"));
    assert!(text.contains(PLACES));
    let edited = directory.join("edited");
    fs::write(&edited, text.replace(PLACES, "$HOME/usr/local/bin")).unwrap();
    install(&edited, &directory.join(SCRIPT));
    fs::remove_file(edited).unwrap();
}

/// The path of a program that is on the tester's PATH.
fn find_program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|directory| directory.join(name));
    places.find(|place| place.exists()).expect(name)
}

/// Quotes a path as these programs do: between double quotes, as it is.
fn quoted(paths: &[String]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
    quoted.join(" ")
}

// ---- The script ---------------------------------------------------------------------------------

#[test]
fn the_script_can_be_started_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/editors")
        .join(SCRIPT);
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o100,
        0o100 // others may start it, too, unless the tester's umask says no
    );
    // cmd reads a script in the encoding of the system.
    assert!(read("docs/editors/wx-upload-editor.cmd").is_ascii());
    assert!(read(".ci/windows/upload.bat").is_ascii());
}

#[test]
fn typora_finds_the_links_in_the_last_lines() {
    let desk = Desk::new("tools");
    let names = ["图 1.png", "b (copy).png"];
    for count in [1, 2] {
        let paths: Vec<String> = names[..count].iter().map(|name| desk.note(name)).collect();
        let line = format!("'{}' {}", desk.script().display(), quoted(&paths));
        // It may read both outputs as one.
        let ran = desk.run(&format!("{line} 2>&1"));
        assert_eq!(ran.status, Some(0), "{}", ran.stdout);
        let lines = ran.lines();
        desk.assert_uploaded(&names[..count], &lines[lines.len() - count..]);
    }
}

#[test]
fn typora_may_add_options_to_the_script() {
    let desk = Desk::new("tools");
    let paths = quoted(&[desk.note("图 1.png")]);
    let ran = desk.run(&format!("'{}' -t notes {paths}", desk.script().display()));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(desk.world.keys()[0].starts_with("notes/图 1-"));
}

#[test]
fn marktext_gets_the_link_alone() {
    let desk = Desk::new("my tools/图床");
    let name = "$(x) `y`.png";
    let ran = desk.run_script(desk.note(name));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    desk.assert_uploaded(&[name], &[ran.stdout.trim()]);
}

#[test]
fn marktext_learns_of_a_failure_by_the_exit_status() {
    let desk = Desk::new("tools");
    let ran = desk.run_script(desk.note("gone.png"));
    desk.world.assert_refused(&ran, &["gone.png"]);
}

#[test]
fn marktext_with_picgo_gets_the_link_behind_its_mark() {
    let desk = Desk::new("tools");
    fs::rename(desk.script(), desk.tools.join("picgo")).unwrap();
    let line = format!(
        "PATH='{}':$PATH; picgo u {}",
        desk.tools.display(),
        quoted(&[desk.note("图 1.png")])
    );
    let ran = desk.run(&line);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let (_, link) = ran.stdout.split_once("[PicGo SUCCESS]:").unwrap();
    desk.assert_uploaded(&["图 1.png"], &[link.trim()]);
}

/// What the plugin does with standard output: `None` is a failure.
fn obsidian_links(stdout: &str, count: usize) -> Option<Vec<&str>> {
    let lines: Vec<&str> = stdout.split('\n').collect();
    let end = lines.len() - 1;
    if stdout.contains("PicGo ERROR") {
        return None;
    }
    Some(lines[end.saturating_sub(count)..end].to_vec())
}

#[test]
fn obsidian_gets_a_link_for_each_picture() {
    let desk = Desk::new("tools");
    let names = ["图 1.png", "b (copy).png"];
    let paths = names.map(|name| desk.note(name));
    let ran = desk.run(&format!(
        "'{}' upload {}",
        desk.script().display(),
        quoted(&paths)
    ));
    let links = obsidian_links(&ran.stdout, 2).expect("links");
    desk.assert_uploaded(&names, &links);
}

#[test]
fn obsidian_counts_lines_so_a_picture_that_stands_twice_gets_two() {
    let desk = Desk::new("tools");
    let paths = ["图 1.png", "图 1.png"].map(|name| desk.note(name));
    let ran = desk.run(&format!(
        "'{}' upload {}",
        desk.script().display(),
        quoted(&paths)
    ));
    let links = obsidian_links(&ran.stdout, 2).expect("links");
    assert_eq!((links.len(), links[0]), (2, links[1]));
    assert_eq!(desk.world.count(Step::Upload), 1);
}

#[test]
fn obsidian_learns_of_a_failure_by_a_word() {
    let desk = Desk::new("tools");
    let refusal = Fault::cos_error(400, "EntityTooLarge");
    desk.world.stand_in.fault(Step::Upload, When::Once, refusal);
    let paths = ["图 1.png", "b (copy).png"].map(|name| desk.note(name));
    let ran = desk.run(&format!(
        "'{}' upload {}",
        desk.script().display(),
        quoted(&paths)
    ));
    assert_eq!(obsidian_links(&ran.stdout, 2), None, "{}", ran.stdout);
    ran.assert_failure(1, &["HTTP 400"]);
}

#[test]
fn a_picture_in_the_clipboard_of_obsidian_is_a_failure() {
    let desk = Desk::new("tools");
    let ran = desk.run(&format!("'{}' upload", desk.script().display()));
    ran.assert_failure(2, &["nothing was uploaded"]);
    assert_eq!(
        (obsidian_links(&ran.stdout, 1), desk.world.requests()),
        (None, 0)
    );
}

#[test]
fn two_articles_can_each_have_a_picture_of_the_same_name() {
    let desk = Desk::new("tools");
    let world = &desk.world;
    world.file("notes/one/1.png", "one");
    world.file("notes/two/1.png", "two");
    let mut links = Vec::new();
    for name in ["one/1.png", "two/1.png"] {
        let ran = desk.run(&format!(
            "'{}' {}",
            desk.script().display(),
            quoted(&[desk.note(name)])
        ));
        links.push(ran.stdout.trim().to_owned());
    }
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    desk.assert_uploaded(&["one/1.png", "two/1.png"], &links);
}

// ---- Where the script finds the program and the config ------------------------------------------

#[test]
fn the_script_works_where_the_archive_was_unpacked() {
    let desk = Desk::new("wx-upload-VERSION-TARGET");
    let editors = desk.tools.join("docs/editors");
    fs::create_dir_all(&editors).unwrap();
    fs::rename(desk.script(), editors.join(SCRIPT)).unwrap();
    let paths = quoted(&[desk.note("图 1.png")]);
    let ran = desk.run(&format!("'{}' {paths}", editors.join(SCRIPT).display()));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    desk.assert_uploaded(&["图 1.png"], &ran.lines());
    assert_token_saved(&desk.tools);
}

#[test]
fn the_script_finds_a_program_that_is_installed_and_the_config_beside_itself() {
    let desk = Desk::new("tools");
    let bin = desk.world.path("home/.local/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::rename(desk.tools.join("wx-upload"), bin.join("wx-upload")).unwrap();
    let ran = desk.run_script(desk.note("图 1.png"));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    desk.assert_uploaded(&["图 1.png"], &ran.lines());
    assert_token_saved(&desk.tools);
}

#[test]
fn a_link_to_the_script_is_followed() {
    let desk = Desk::new("tools");
    let link = desk.world.path("editor/upload-pictures");
    symlink(desk.script(), &link).unwrap();
    let ran = desk.run(&format!(
        "'{}' {}",
        link.display(),
        quoted(&[desk.note("图 1.png")])
    ));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    desk.assert_uploaded(&["图 1.png"], &ran.lines());
}

#[test]
fn without_a_config_or_a_program_the_script_says_where_it_looked() {
    let desk = Desk::new("tools");
    let line = format!(
        "'{}' {}",
        desk.script().display(),
        quoted(&[desk.note("图 1.png")])
    );
    fs::remove_file(desk.tools.join("config.json")).unwrap();
    let config = desk.tools.join("config.json").display().to_string();
    desk.world
        .assert_refused(&desk.run(&line), &[&config, "--init"]);
    fs::remove_file(desk.tools.join("wx-upload")).unwrap();
    let program = desk.tools.join("wx-upload").display().to_string();
    desk.world.assert_refused(&desk.run(&line), &[&program]);
}

fn assert_token_saved(directory: &Path) {
    let config = fs::read(directory.join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert!(config["access_token"].is_string(), "{config}");
}

// ---- Without the script -------------------------------------------------------------------------

/// A copy of the program with a config beside it.
fn program_with_config(world: &World) -> TempDir {
    let programs = TempDir::new().unwrap();
    install(&binary(), &programs.path().join("wx-upload"));
    world.stand_in.config_json(programs.path());
    programs
}

#[test]
fn obsidian_can_call_the_program_itself() {
    let desk = Desk::new("tools");
    fs::remove_file(desk.world.path("editor/config.json")).unwrap();
    let programs = program_with_config(&desk.world);
    let program = programs.path().join("wx-upload").display().to_string();
    let names = ["图 1.png", "b (copy).png"];
    let paths = names.map(|name| desk.note(name));
    let ran = desk.run(&format!("'{program}' -q -f url upload {}", quoted(&paths)));
    let links = obsidian_links(&ran.stdout, 2).expect("links");
    desk.assert_uploaded(&names, &links);
}

#[test]
fn typora_can_call_the_program_itself() {
    let desk = Desk::new("tools");
    let names = ["图 1.png", "b (copy).png"];
    let paths = names.map(|name| desk.note(name));
    let config = desk.tools.join("config.json").display().to_string();
    for redirection in ["", " 2>&1"] {
        let line = format!(
            "\"$0\" -q -f url -c '{config}' {}{redirection}",
            quoted(&paths)
        );
        let ran = desk.run(&line);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        desk.assert_uploaded(&names, &ran.lines());
    }
    assert_eq!(fs::read_dir(desk.world.path("editor")).unwrap().count(), 1);
}

#[test]
fn an_upload_that_fails_has_no_line_and_a_bad_exit_status() {
    let desk = Desk::new("tools");
    let paths = ["图 1.png", "b (copy).png"].map(|name| desk.note(name));
    let key = When::Key("temp3/图 1.png".into());
    let refusal = Fault::cos_error(400, "EntityTooLarge");
    desk.world.stand_in.fault(Step::Upload, key, refusal);
    let config = desk.tools.join("config.json").display().to_string();
    let ran = desk.run(&format!("\"$0\" -f url -c '{config}' {}", quoted(&paths)));
    ran.assert_failure(1, &["图 1.png: 上传文件失败: HTTP 400"]);
    desk.assert_uploaded(&["b (copy).png"], &ran.lines());
}
