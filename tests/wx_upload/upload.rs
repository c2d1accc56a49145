//! The main job: the program uploads files and prints their links.

use std::fs;

use crate::harness::{World, can_be_named};
use stand_in::Step;

/// Files with awkward names or sizes: (name, bytes).
fn awkward_files() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "图片.jpg",
        "日本語のファイル.png",
        "emoji 🎉👨‍👩‍👧.gif",
        "with spaces.txt",
        "it's \"quoted\".txt",
        "semi;colon.pdf",
        "a&b=c.txt",
        "100%20.txt",
        "a+b.txt",
        "hash#tag.txt",
        "question?.txt",
        "back\\slash.txt",
        "-dash.txt",
        "brackets [1](2).md",
        "no extension",
        ".hidden",
        "UPPER.JPG",
        "ünï.çödé",
        "trailing space ",
        "~tilde$dollar`.txt",
    ];
    let small = names
        .iter()
        .filter(|name| can_be_named(name))
        .map(|&name| (name, format!("the bytes of {name}").into_bytes()));
    let sizes = [
        ("empty", Vec::new()),
        ("1MiB.bin", (0..1 << 20).map(|i| (i % 251) as u8).collect()),
    ];
    small.chain(sizes).collect()
}

#[test]
fn awkward_names_go_up_over_https_byte_for_byte() {
    let world = World::https();
    for (name, bytes) in awkward_files() {
        world.file(format!("154190339_附件/{name}"), bytes);
    }
    let ran = world.run([""; 0]);
    ran.assert_success();
    let objects = world.stand_in.objects();
    assert_eq!(objects.len(), awkward_files().len());
    for (name, bytes) in awkward_files() {
        let object = &objects[&format!("temp3/{name}")];
        assert_eq!(object.bytes.as_ref(), Some(&bytes), "{name}");
        assert!(object.linkable, "{name}");
    }
    for step in [Step::Info, Step::Link] {
        for request in world.stand_in.requests(step) {
            let body = String::from_utf8(request.body).expect("raw UTF-8");
            assert!(!body.contains("\\u"), "{body}");
        }
    }
    world.assert_proper();
    // The names are printed in the order of the directory, which is sorted.
    let mut names: Vec<_> = awkward_files().into_iter().map(|(name, _)| name).collect();
    names.sort();
    let printed: Vec<_> = ran
        .lines()
        .iter()
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(printed, names);
}

#[test]
fn a_second_run_asks_for_no_token() {
    let world = World::http();
    let file = world.file("a.txt", "a");
    world.run([&file]).assert_success();
    let saved = fs::read_to_string(world.path("config.json")).unwrap();
    world.run([&file]).assert_success();
    assert_eq!(world.stand_in.tokens_issued().len(), 1);
    assert_eq!(
        saved,
        fs::read_to_string(world.path("config.json")).unwrap()
    );
    world.assert_proper();
}
