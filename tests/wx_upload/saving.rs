//! Saving a config that others own, edit, or save at the same time.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stand_in::{Fault, SECRET, Step, When};

use crate::harness::{World, judges_windows, not_on_windows, spawn};
use crate::machine::{config_bytes, start_and_hold_the_token};
use crate::unix::{ProgramForAll, is_installed, is_root, set_mode, through, world_for_all};

// ---- Owner and group ----------------------------------------------------------------------------

/// A world whose directory everybody can write to, with a config of user 2222 and group 5555.
fn world_of_a_group() -> World {
    let world = world_for_all(&["a.txt"]);
    set_mode(&world.path("config.json"), 0o660);
    chown(world.path("config.json"), Some(2222), Some(5555)).unwrap();
    world
}

/// Owner, group and permissions of the config.
fn owner_of_config(world: &World) -> (u32, u32, u32) {
    let config = fs::metadata(world.path("config.json")).unwrap();
    (config.uid(), config.gid(), config.mode() & 0o7777)
}

#[test]
fn a_config_of_a_group_without_the_user_is_left_alone() {
    if not_on_windows("owners") {
        return;
    }
    if !is_root() {
        return;
    }
    let world = world_of_a_group();
    let before = config_bytes(&world);
    let program = ProgramForAll::new();
    let mut command = world.command_of(&program.path(), ["a.txt"]);
    command.uid(2222).gid(2222);
    let ran = world.finish(command);
    ran.assert_failure(
        0,
        &[
            "warning: ./config.json: ",
            "its group could not be kept",
            "1 uploaded",
        ],
    );
    assert_eq!(owner_of_config(&world), (2222, 5555, 0o660));
    assert_eq!(config_bytes(&world), before);
}

#[test]
fn a_config_of_a_group_with_the_user_is_saved_and_keeps_its_group() {
    if not_on_windows("owners") {
        return;
    }
    if !is_root() || !is_installed("setpriv") {
        return;
    }
    let world = world_of_a_group();
    let user = ["setpriv", "--reuid=2222", "--regid=2222", "--groups=5555"];
    let program = ProgramForAll::new();
    let command = world.command_of(&program.path(), ["a.txt"]);
    let ran = world.finish(through(&user, &command));
    ran.assert_success();
    assert_eq!(owner_of_config(&world), (2222, 5555, 0o660));
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
}

// ---- Edits while a token is fetched -------------------------------------------------------------

#[test]
fn an_edit_by_an_editor_that_makes_a_new_file_stays() {
    if not_on_windows("permissions") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let child = start_and_hold_the_token(&world, &["a.txt"]);
    let mut edited = world.config();
    edited["upload_path"] = json!("elsewhere");
    world.file("edited", edited.to_string());
    set_mode(&world.path("edited"), 0o640);
    fs::rename(world.path("edited"), world.path("config.json")).unwrap();
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    let config = world.config();
    assert_eq!(config["upload_path"], "elsewhere");
    assert_eq!(config["access_token"], *world.stand_in.tokens_issued()[0]);
    assert_eq!(owner_of_config(&world).2, 0o640);
}

#[test]
fn a_config_that_breaks_while_a_token_is_fetched_is_left_alone() {
    for text in [None, Some(""), Some("{\"appid\": \"wx01"), Some("[]\n")] {
        let world = World::with_files(&["a.txt"]);
        let child = start_and_hold_the_token(&world, &["-q", "a.txt"]);
        let config = world.path("config.json");
        match text {
            Some(text) => fs::write(&config, text).unwrap(),
            None => fs::remove_file(&config).unwrap(),
        }
        world.stand_in.open_gate();
        let ran = world.wait(child);
        ran.assert_failure(0, &["warning: ./config.json: "]);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert_eq!(fs::read_to_string(&config).ok().as_deref(), text);
        assert_eq!(world.keys(), ["temp3/a.txt"]);
    }
}

// ---- Many runs at once --------------------------------------------------------------------------

/// Whether runs can lock the config.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Work,
    /// Some file systems have no locks.
    Fail,
}

impl Locks {
    fn apply(self, command: Command) -> Command {
        let fail =
            "strace --seccomp-bpf -f -o /dev/null -e trace=flock -e inject=flock:error=ENOLCK";
        let fail: Vec<&str> = fail.split(' ').collect();
        match self {
            Locks::Work => command,
            Locks::Fail => through(&fail, &command),
        }
    }
}

/// Changes one letter of the config. Nobody can see such an edit half done.
fn edit_letter(dir: &Path, letter: u8) {
    let config = dir.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let place = "\"edited\": \"";
    let at = text.find(place).unwrap() + place.len();
    let file = fs::OpenOptions::new().write(true).open(config).unwrap();
    file.write_all_at(&[letter], at as u64).unwrap();
}

/// Removes the token from the config, by a new file that takes the place of the old one.
fn remove_token(world: &World) {
    let text = String::from_utf8(config_bytes(world)).unwrap();
    let token = world.config()["access_token"].to_string();
    world.file("next", text.replace(&token, "null"));
    set_mode(&world.path("next"), 0o600);
    fs::rename(world.path("next"), world.path("config.json")).unwrap();
}

/// Starts many runs that all need a new token at once, again and again for `time`. Reads the config
/// all the time, and checks that it is whole.
fn soak(time: Duration, locks: Locks) {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "auth": "stable_token", "edited": "a" }));
    if locks == Locks::Work {
        // Without locks, another run could save at the same moment as the edit.
        edit_while_a_token_is_fetched(&world);
    }
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let rounds = scope.spawn(|| {
            while Instant::now() < until {
                run_many_at_once(&world, locks);
                remove_token(&world);
            }
        });
        while !rounds.is_finished() {
            let config: Value = serde_json::from_slice(&config_bytes(&world)).expect("all of it");
            assert_eq!(config["secret"], SECRET);
            assert!(config["edited"].is_string());
        }
    });
    let left: Vec<_> = fs::read_dir(world.dir.path()).unwrap().collect();
    let lock = usize::from(judges_windows()); // it stays beside the config
    assert_eq!(left.len(), 2 + lock, "{left:?}");
}

/// Changes the letter in the config with each new token.
fn edit_while_a_token_is_fetched(world: &World) {
    let dir = world.dir.path().to_owned();
    let edits = AtomicUsize::new(1);
    let edit = Fault::custom(move |_| {
        let nth = edits.fetch_add(1, Ordering::Relaxed);
        edit_letter(&dir, nth_letter(nth));
        None
    });
    world.stand_in.fault(Step::Token, When::Always, edit);
}

fn nth_letter(nth: usize) -> u8 {
    b'a' + (nth % 26) as u8
}

fn run_many_at_once(world: &World, locks: Locks) {
    const AT_ONCE: usize = 24;
    let before = world.count(Step::Token);
    let start = |_| spawn(locks.apply(world.command(["a.txt"])));
    let children: Vec<_> = (0..AT_ONCE).map(start).collect();
    for child in children {
        // On a busy machine, there may be the note that it waits for another run.
        let ran = world.wait(child);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert_eq!(ran.count("uploaded"), 1, "{}", ran.stderr);
    }
    let tokens = world.count(Step::Token);
    if locks == Locks::Work {
        assert_eq!(tokens, before + 1, "one token for all");
        let letter = char::from(nth_letter(tokens)).to_string();
        assert_eq!(world.config()["edited"], letter, "no edit is lost");
    }
}

#[test]
fn runs_at_once_do_not_tear_the_config_and_do_not_undo_an_edit() {
    soak(Duration::from_secs(3), Locks::Work);
}

#[test]
fn runs_at_once_do_not_tear_the_config_without_locks() {
    if is_installed("strace") {
        soak(Duration::from_secs(3), Locks::Fail);
    }
}

/// Takes two minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes two minutes"]
fn runs_at_once_do_not_tear_the_config_in_a_whole_minute() {
    soak(Duration::from_secs(60), Locks::Work);
    if is_installed("strace") {
        soak(Duration::from_secs(60), Locks::Fail);
    }
}
