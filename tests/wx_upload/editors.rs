//! Editors that upload pictures, each as its source calls an uploader and reads its output.
//!
//! - Typora runs a command line in a shell, with a quoted path for each picture behind it. It takes the
//!   last lines of the output, one for each path.
//! - MarkText starts a program with one path, without a shell. It takes all of standard output, and
//!   some versions standard error, too. With its uploader PicGo it runs `picgo u "PATH"` in a shell,
//!   and takes what follows `[PicGo SUCCESS]:`.
//! - Obsidian's plugin Image auto upload runs a command line in a shell, with the word `upload` and
//!   quoted paths, some without their first slash. It takes the lines before the end of standard
//!   output, one for each path, unless `PicGo ERROR` is in it. For a pasted picture it passes the word
//!   alone, and takes a line that begins with `http`. It does not look at the exit status.
//! - PicGo Paste starts a program with `upload` and one path. If the exit status is 0, it takes the
//!   first address in both outputs.
//! - image-migrate-picgo starts a program with `--config CONFIG upload` and the paths. It wants as many
//!   lines that are addresses, in both outputs, as there are paths.
//! - nvim-picgo starts `picgo u PATH`. It looks for its words in the first line of what it reads from
//!   standard output at once, and takes the second line for the link.
//! - ksnip starts a program with one path. It drops the link if there is anything on standard error, and
//!   does not look at the exit status.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stand_in::{Fault, Step, When};
use tempfile::TempDir;

use crate::documents::{LANGUAGES, code_blocks, read};
use crate::harness::{Ran, World, binary};
use crate::shell::{link_program, shell};
use crate::unix::{install, is_installed};

const SCRIPT: &str = "wx-upload-editor.sh";
/// Where the script looks for a program that is installed, besides the PATH and the user's home.
const PLACES: &str = "/usr/local/bin:/opt/homebrew/bin";
/// The system's own programs that the script calls.
const CALLED: [&str; 4] = ["dirname", "readlink", "mktemp", "rm"];

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
        self.run_with(&[&path])
    }

    /// The script with these arguments, without a shell.
    fn run_with(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.script());
        command
            .args(arguments)
            .current_dir(self.world.path("editor"));
        command
    }

    /// Puts a program of the system into the PATH: a shell script with these lines.
    fn tool(&self, name: &str, lines: &str) {
        let lines = format!("#!/bin/sh\n{lines}\n");
        let file = self.world.file("tool", lines);
        install(&file, &self.world.path("bin").join(name));
    }

    /// Puts a program in place of wx-upload: a shell script with these lines.
    fn replace_program(&self, lines: &str) {
        let program = self.tools.join("wx-upload");
        fs::remove_file(&program).unwrap();
        let file = self.world.file("program", format!("#!/bin/sh\n{lines}\n"));
        install(&file, &program);
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

#[test]
fn marktext_with_picgo_shows_the_reason_on_standard_error() {
    let desk = Desk::new("tools");
    let ran = desk.run_with(&["u", &desk.note("gone.png")]);
    ran.assert_failure(2, &["gone.png"]);
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

#[test]
fn obsidian_drops_the_first_slash() {
    let desk = Desk::new("tools");
    let names = ["图 1.png", "b (copy).png"];
    let paths = names.map(|name| desk.note(name)[1..].to_owned());
    let script = desk.script();
    let ran = desk.run(&format!("'{}' upload {}", script.display(), quoted(&paths)));
    let links = obsidian_links(&ran.stdout, 2).expect("links");
    desk.assert_uploaded(&names, &links);
    // A path that is percent-encoded is found there, too.
    let encoded = desk.note("b%20(copy).png")[1..].to_owned();
    let ran = desk.run_with(&["upload", &encoded]);
    assert_eq!(ran.lines(), [links[1]], "{}", ran.stderr);
    // The message has the whole path.
    let gone = desk.note("gone.png");
    let ran = desk.run_with(&["upload", &gone[1..]]);
    assert!(ran.stdout.contains(&gone), "{}", ran.stdout);
}

#[test]
fn a_path_in_the_directory_of_the_editor_is_found() {
    let desk = Desk::new("tools");
    let arguments = ["upload", "../notes/图 1.png", "inner/b.png"];
    fs::write(desk.world.file("editor/inner/b.png", ""), "b").unwrap();
    let ran = desk.run_with(&arguments);
    assert_eq!(
        (ran.status, ran.lines().len()),
        (Some(0), 2),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_directory_below_the_root_is_not_taken_for_a_picture() {
    let desk = Desk::new("tools");
    let directory = desk.world.path("notes").display().to_string();
    let ran = desk.run_with(&["upload", &directory[1..]]);
    ran.assert_failure(2, &[]);
    assert_eq!(desk.world.requests(), 0);
}

#[test]
fn picgo_paste_gets_an_address_and_shows_why_there_is_none() {
    let desk = Desk::new("tools");
    let name = "b (copy).png";
    let ran = desk.run_with(&["upload", &desk.note(name)]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    desk.assert_uploaded(&[name], &[ran.stdout.trim()]);
    let ran = desk.run_with(&["upload", &desk.note("gone.png")]);
    ran.assert_failure(2, &["gone.png"]);
}

/// The addresses that image-migrate-picgo finds.
fn addresses(ran: &Ran) -> Vec<&str> {
    let lines = ran.stdout.lines().chain(ran.stderr.lines());
    lines.filter(|line| line.starts_with("http")).collect()
}

#[test]
fn image_migrate_picgo_names_the_config_before_the_word() {
    let desk = Desk::new("tools");
    let config = desk.world.path("config of the tool.json");
    fs::rename(desk.tools.join("config.json"), &config).unwrap();
    let config = config.display().to_string();
    let names = ["图 1.png", "b (copy).png"];
    let paths = names.map(|name| desk.note(name));
    let ran = desk.run_with(&["--config", &config, "upload", &paths[0], &paths[1]]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    desk.assert_uploaded(&names, &addresses(&ran));
    let ran = desk.run_with(&["--config", &config, "upload", &paths[0], "/gone.png"]);
    ran.assert_failure(2, &["/gone.png"]);
    assert_eq!(addresses(&ran), [""; 0]);
    assert!(ran.stdout.starts_with("[PicGo ERROR]: "), "{}", ran.stdout);
}

#[test]
fn nvim_picgo_reads_the_word_and_the_link_at_once() {
    let desk = Desk::new("tools");
    let ran = desk.run_with(&["u", &desk.note("图 1.png")]);
    let lines = ran.lines();
    assert_eq!((lines.len(), lines[0]), (2, "[PicGo SUCCESS]:"));
    desk.assert_uploaded(&["图 1.png"], &lines[1..]);
    let ran = desk.run_with(&["u", &desk.note("gone.png")]);
    assert!(ran.stdout.starts_with("[PicGo ERROR]: "), "{}", ran.stdout);
    assert!(!ran.stdout.contains("SUCCESS"), "{}", ran.stdout);
}

#[test]
fn a_warning_is_not_shown_beside_a_link() {
    let desk = Desk::new("tools");
    let config = desk.tools.join("config.json");
    fs::hard_link(&config, desk.world.path("second")).unwrap(); // so the token can't be saved
    for words in [&[][..], &["u"], &["upload"]] {
        let note = desk.note("图 1.png");
        let ran = desk.run_with(&[words, &[&note]].concat());
        assert_eq!(
            (ran.status, ran.stderr.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
    // It stands before the reason of a failure, and is not the reason.
    desk.world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::cos_error(400, "EntityTooLarge"),
    );
    let ran = desk.run_with(&["upload", &desk.note("图 1.png")]);
    assert!(ran.stdout.starts_with("[PicGo ERROR]: /"), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
}

#[test]
fn no_link_is_shown_where_a_picture_has_failed() {
    for word in ["u", "upload", "--"] {
        let desk = Desk::new("tools");
        let refusal = Fault::cos_error(400, "EntityTooLarge");
        desk.world.stand_in.fault(Step::Upload, When::Once, refusal);
        let paths = ["图 1.png", "b (copy).png"].map(|name| desk.note(name));
        let ran = desk.run_with(&[word, &paths[0], &paths[1]]);
        ran.assert_failure(1, &["HTTP 400"]);
        assert!(!ran.stdout.contains("http"), "{}", ran.stdout);
        assert_eq!(ran.stdout.is_empty(), word == "--", "{}", ran.stdout);
    }
}

// ---- Every way out ------------------------------------------------------------------------------

/// Checks what editors of each kind see of a failure: a word that they know on standard output after a
/// word, and nothing there without one.
fn assert_each_sees(desk: &Desk, status: i32, words: &[&str]) {
    let note = desk.note("图 1.png");
    for word in [None, Some("u"), Some("upload")] {
        let arguments: Vec<&str> = word.into_iter().chain([note.as_str()]).collect();
        let ran = desk.run_with(&arguments);
        ran.assert_failure(status, words);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        match word {
            None => assert_eq!(ran.stdout, ""),
            Some(_) => {
                let reason = ran.stdout.strip_prefix("[PicGo ERROR]: ");
                assert_eq!(reason, ran.stderr.strip_prefix("error: "));
            }
        }
    }
    assert_eq!(desk.world.requests(), 0);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let desk = Desk::new("tools");
    let program = desk.tools.join("wx-upload");
    fs::remove_file(&program).unwrap();
    assert_each_sees(&desk, 2, &[program.to_str().unwrap(), "no such program"]);
}

#[test]
fn a_program_that_may_not_be_started_is_told() {
    let desk = Desk::new("tools");
    let program = desk.tools.join("wx-upload");
    fs::remove_file(&program).unwrap();
    fs::write(&program, "").unwrap();
    assert_each_sees(&desk, 2, &[&format!("chmod +x '{}'", program.display())]);
}

#[test]
fn a_program_that_was_killed_is_told() {
    let desk = Desk::new("tools");
    desk.replace_program("echo https://x/half; kill -9 $$");
    assert_each_sees(&desk, 137, &["killed by signal 9"]);
}

#[test]
fn a_program_that_ends_without_a_word_is_told() {
    let desk = Desk::new("tools");
    desk.replace_program("exit 3");
    assert_each_sees(&desk, 3, &["it ended with status 3"]);
}

#[test]
fn a_config_that_is_not_there_is_told() {
    let desk = Desk::new("tools");
    fs::remove_file(desk.tools.join("config.json")).unwrap();
    assert_each_sees(&desk, 2, &["config.json", "--init"]);
}

#[test]
fn the_reasons_of_the_script_are_in_chinese_where_the_locale_is() {
    let desk = Desk::new("tools");
    fs::remove_file(desk.tools.join("wx-upload")).unwrap();
    let chinese = |name: &str, value: &str| {
        let mut command = desk.command(&["upload", "/a.png"]);
        command.env_clear().envs(desk.variables());
        command.env_remove("WX_LANG").env(name, value);
        let ran = desk.world.finish(command);
        assert_eq!(ran.status, Some(2));
        ran.stdout.contains("没有这个程序")
    };
    assert!(chinese("LANG", "zh_CN.UTF-8") && chinese("WX_LANG", "zh"));
    assert!(!chinese("LANG", "en_US.UTF-8") && !chinese("WX_LANG", "en"));
}

#[test]
fn the_script_knows_each_option_that_has_a_value() {
    let script = read(&format!("docs/editors/{SCRIPT}"));
    let (_, cases) = script.split_once("case $argument in\n").unwrap();
    let (cases, _) = cases.split_once("    -*)").unwrap();
    let known: Vec<&str> = cases.split([' ', ')', '\n', '|']).collect();
    let help = World::http().run(["--help"]).stdout;
    let options = help.lines().filter(|line| line.trim().starts_with('-'));
    let named = options.map(|line| line.trim().split("  ").next().unwrap());
    let mut with_value = 0;
    for option in named.filter(|option| option.ends_with(|c: char| c.is_ascii_uppercase())) {
        with_value += 1;
        let names = option
            .split([' ', ','])
            .filter(|name| name.starts_with('-'));
        for name in names.filter(|name| *name != "-V") {
            assert!(known.contains(&name), "{name}");
        }
    }
    assert!(with_value >= 7, "{help}");
}

#[test]
fn the_word_may_stand_behind_options() {
    let desk = Desk::new("tools");
    let note = desk.note("图 1.png");
    let ran = desk.run_with(&["-t", "upload", "--retries", "0", "u", &note]);
    let is_word = ran.stdout.starts_with("[PicGo SUCCESS]:\n");
    assert!(is_word, "{}{}", ran.stdout, ran.stderr);
    assert!(desk.world.keys()[0].starts_with("upload/图 1-"));
}

// ---- The clipboard ------------------------------------------------------------------------------

/// Calls the script with a word alone. Checks that it leaves no temporary files.
fn paste(desk: &Desk, word: &str) -> Ran {
    let temporary = desk.world.path("temporary");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = desk.command(&[word]);
    command
        .env_clear()
        .envs(desk.variables())
        .env("TMPDIR", &temporary);
    let ran = desk.world.finish(command);
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
    ran
}

#[test]
fn a_word_alone_means_the_picture_in_the_clipboard() {
    let desk = Desk::new("tools");
    desk.tool("wl-paste", "echo no clipboard >&2; exit 1");
    desk.tool(
        "xclip",
        "[ \"$*\" = '-selection clipboard -t image/png -o' ] && printf picture",
    );
    let ran = paste(&desk, "upload");
    assert_eq!(
        (ran.status, ran.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ran.stdout
    );
    assert_eq!(
        obsidian_links(&ran.stdout, 1),
        Some(vec![ran.stdout.trim()])
    );
    let objects = desk.world.stand_in.objects();
    let (key, object) = objects.iter().next().unwrap();
    assert!(
        key.starts_with("temp3/clipboard-") && key.ends_with(".png"),
        "{key}"
    );
    assert_eq!(object.bytes.as_deref(), Some(&b"picture"[..]));
    let ran = paste(&desk, "u");
    assert!(
        ran.stdout.starts_with("[PicGo SUCCESS]:\nhttp"),
        "{}",
        ran.stdout
    );
}

#[test]
fn only_the_user_can_read_the_picture_of_the_clipboard() {
    let desk = Desk::new("tools");
    desk.tool("wl-paste", "[ \"$3\" = image/png ] && printf picture");
    desk.replace_program(
        "for file; do :; done; directory=${file%/*}; /bin/ls -ld \"$directory\" \"$file\"",
    );
    let ran = paste(&desk, "upload");
    let modes: Vec<&str> = ran.lines().iter().map(|line| &line[..10]).collect();
    assert_eq!(modes, ["drwx------", "-rw-------"]);
}

#[test]
fn a_picture_of_the_clipboard_is_removed_where_the_run_fails() {
    let desk = Desk::new("tools");
    desk.tool("pngpaste", "printf picture >\"$1\"");
    desk.world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::cos_error(400, "EntityTooLarge"),
    );
    let ran = paste(&desk, "upload");
    ran.assert_failure(1, &["HTTP 400"]);
    assert_eq!(obsidian_links(&ran.stdout, 1), None);
}

#[test]
fn a_picture_of_the_clipboard_is_removed_where_the_editor_ends_the_script() {
    let desk = Desk::new("tools");
    desk.tool("wl-paste", "printf picture; kill -TERM $PPID");
    let ran = paste(&desk, "upload");
    assert_eq!(ran.status, Some(128 + 15), "{}", ran.stderr);
    assert_eq!(desk.world.requests(), 0);
}

#[test]
fn a_clipboard_without_a_picture_or_a_tool_is_told() {
    let desk = Desk::new("tools");
    let ran = paste(&desk, "upload");
    ran.assert_failure(2, &["install wl-clipboard (Wayland), xclip (X11)"]);
    assert!(ran.stdout.starts_with("[PicGo ERROR]: "), "{}", ran.stdout);
    desk.tool("wl-paste", "echo Nothing is copied; exit 1");
    let ran = paste(&desk, "u");
    ran.assert_failure(2, &["no picture in the clipboard"]);
    assert!(ran.stdout.starts_with("[PicGo ERROR]: "), "{}", ran.stdout);
    assert_eq!(desk.world.requests(), 0);
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

// ---- The code in the manual ---------------------------------------------------------------------

#[test]
fn the_code_for_markdown_image_returns_the_link_or_the_reason() {
    if !is_installed("node") {
        return;
    }
    for language in &LANGUAGES {
        let desk = Desk::new("tools");
        let mut blocks = code_blocks(&read(language.manual)).into_iter();
        let block = blocks
            .find(|block| block.text.contains("module.exports"))
            .unwrap();
        let directory = format!("{}/", desk.tools.display());
        let code = block.text.replace("/home/me/wx-upload/", &directory);
        assert!(code.contains(&directory), "{code}");
        let file = desk.world.file("editor/markdown-image.js", code);
        // The extension calls it so, and shows the message of an error.
        let lines = "require(process.argv[1])(process.argv[2], 'name', 'article.md')\
            .then((link) => console.log(link), (error) => console.log(error.message))";
        let call = |name| {
            let mut command = Command::new(find_program("node"));
            command.args(["-e", lines]).arg(&file).arg(desk.note(name));
            desk.finish(command)
        };
        let ran = call("b (copy).png");
        desk.assert_uploaded(&["b (copy).png"], &[ran.stdout.trim()]);
        assert!(call("gone.png").stdout.contains("gone.png: "));
    }
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
