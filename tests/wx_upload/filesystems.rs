//! File systems as they are: inode numbers that change, and what a killed save leaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::harness::{World, not_on_windows};
use crate::unix::{OtherSystem, is_installed, set_mode, through};

#[test]
fn inode_numbers_that_change_at_each_look_are_no_obstacle() {
    let changing = "static unsigned long long looks;
                    stat->stx_ino = 1000 + __atomic_add_fetch(&looks, 1, __ATOMIC_SEQ_CST);";
    let Some(changing) = OtherSystem::with_facts(changing) else {
        return;
    };
    let world = World::with_files(&["a.txt", "sub/b.txt"]);
    symlink("a.txt", world.path("link")).unwrap();
    let arguments = ["--manifest", "sent.jsonl", "-r", ".", "a.txt", "link"];
    for (unchanged, skipped) in [(0, 4), (2, 5)] {
        let mut command = world.command(arguments);
        changing.show_to(&mut command);
        let ran = world.finish(command);
        let words = [
            "note: ./config.json: skipped: the config, its copies",
            "note: ./link: skipped: the same file as ./a.txt",
        ];
        ran.assert_failure(0, &words);
        // A path that was typed has its line, also if the file is in the directory before it.
        let lines = ran.lines();
        assert_eq!((lines.len(), lines[2], lines[3]), (4, lines[0], lines[0]));
        assert_eq!(world.keys(), ["temp3/a.txt", "temp3/sub/b.txt"]);
        let counts = (ran.count("unchanged"), ran.count("skipped"));
        assert_eq!(counts, (unchanged, skipped), "{}", ran.stderr);
    }
}

#[test]
fn a_save_that_is_killed_leaves_what_only_its_owner_can_read() {
    if not_on_windows("permissions") {
        return;
    }
    if !is_installed("strace") {
        return;
    }
    for mode in [0o600, 0o640, 0o644, 0o666] {
        let world = World::with_files(&["a.txt"]);
        world.configure(json!({}));
        set_mode(&world.path("config.json"), mode);
        let kill = "strace -f -o /dev/null -e trace=fsync -e inject=fsync:signal=KILL";
        let kill: Vec<&str> = kill.split(' ').collect();
        world.finish(through(&kill, &world.command(["a.txt"])));
        let names = fs::read_dir(world.dir.path()).unwrap();
        let mut left = names.filter_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            name.starts_with("config.json.")
                .then(|| entry.metadata().unwrap())
        });
        let mode = left.next().expect("a leftover").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(left.next().is_none());
    }
}

#[test]
fn a_share_that_replaces_no_open_file_gets_its_token_once_the_lock_is_free() {
    let busy_once = "static int calls; if (calls++ == 0) { errno = EBUSY; return -1; }";
    let Some(share) = OtherSystem::with_rename(busy_once) else {
        return;
    };
    let world = World::with_files(&["a.txt"]);
    let mut command = world.command(["a.txt"]);
    share.show_to(&mut command);
    world.finish(command).assert_success();
    assert_eq!(
        world.config()["access_token"],
        world.stand_in.tokens_issued()[0]
    );
}

#[test]
fn a_config_that_is_mounted_by_itself_is_told_with_its_cure() {
    let Some(mount) = OtherSystem::with_rename("errno = EBUSY; return -1;") else {
        return;
    };
    let world = World::with_files(&["a.txt"]);
    let mut command = world.command(["a.txt"]);
    mount.show_to(&mut command);
    let ran = world.finish(command);
    let words = [
        "warning: ./config.json: the new token could not be saved",
        "mount its directory instead\n",
    ];
    ran.assert_failure(0, &words);
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2);
}

#[test]
fn chmod_is_not_advised_where_every_file_is_public() {
    let public = "stat->stx_mode = S_IFREG | 0644;";
    let Some(public) = OtherSystem::with_facts(public) else {
        return;
    };
    let world = World::with_files(&["a.txt"]);
    let mut command = world.command(["a.txt"]);
    public.show_to(&mut command);
    let ran = world.finish(command);
    ran.assert_failure(
        0,
        &["note: ./config.json: everybody on this machine can read "],
    );
    assert!(!ran.stderr.contains("chmod"), "{}", ran.stderr);
    // The file that was tried is gone.
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2);
}
