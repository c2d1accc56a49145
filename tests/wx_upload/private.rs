//! What is private stays on this machine: what links lead to, and what holds a secret.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use stand_in::{Fault, Step};

use crate::harness::{PATIENCE, Ran, World, key};

/// Makes links, and the directories that they are in.
fn links(world: &World, links: &[(&str, &str)]) {
    for (link, target) in links {
        let path = world.path(link);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
}

// ---- Links below a directory --------------------------------------------------------------------

#[test]
fn with_r_a_link_out_of_the_directory_or_to_what_is_hidden_is_skipped() {
    let world = World::with_files(&[
        "pub/good.txt",
        "pub/sub/real.txt",
        "pub/.git/config",
        "pub/.git/objects/pack",
        "pub/sub/.env",
        ".ssh/id_rsa",
        "public/a.txt",
    ]);
    let absolute = world.path(".ssh/id_rsa");
    let out = [
        ("pub/x.txt", "../.ssh/id_rsa"),
        ("pub/sub/x.txt", "../../.ssh/id_rsa"),
        ("pub/absolute", absolute.to_str().unwrap()),
        ("pub/neighbour", "../public/a.txt"), // its path begins like that of the directory
        ("pub/chain", "chain-2"),
        ("pub/chain-2", "sub/x.txt"),
    ];
    let hidden = [
        ("pub/y.txt", ".git/config"),
        ("pub/deep", "sub/../.git/objects/pack"),
        ("pub/env", "sub/.env"),
    ];
    links(&world, &out);
    links(&world, &hidden);
    links(&world, &[("pub/inside", "sub/real.txt"), ("way", "pub")]);
    for directory in ["pub", "./pub/", "way", "public/../pub"] {
        let ran = world.run(["-r", directory]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        // The link that stays inside has the name of what it leads to.
        let keys = ["good.txt", "real.txt", "sub/real.txt"];
        assert_eq!(world.keys(), keys.map(|key| format!("temp3/{key}")));
        assert_eq!(ran.lines().len(), keys.len());
        for (links, why) in [
            (&out[..], "a link that leads out of the directory"),
            (&hidden[..], "a link to what is hidden"),
        ] {
            for (link, _) in links {
                let link = link.replacen("pub", directory.trim_end_matches('/'), 1);
                let note = format!("note: {link}: skipped: {why}");
                assert!(
                    ran.stderr.contains(&note),
                    "{note} is not in {}",
                    ran.stderr
                );
            }
        }
    }
}

#[test]
fn a_link_that_is_named_is_followed_wherever_it_leads() {
    let world = World::with_files(&[".ssh/config", ".git/HEAD"]);
    links(
        &world,
        &[("pub/x", "../.ssh/config"), ("pub/y", "../.git/HEAD")],
    );
    world.run(["-r", "pub/x", "pub/y"]).assert_success();
    assert_eq!(world.keys(), ["temp3/HEAD", "temp3/config"]);
}

#[test]
fn without_r_links_of_a_directory_are_followed_as_by_the_script() {
    let world = World::with_files(&["elsewhere/.hidden"]);
    links(&world, &[("pub/x", "../elsewhere/.hidden")]);
    world.run(["pub"]).assert_success();
    assert_eq!(world.keys(), ["temp3/.hidden"]);
}

#[test]
fn what_is_below_a_hidden_directory_that_is_named_is_not_hidden() {
    let world = World::with_files(&[".site/sub/a.txt"]);
    links(&world, &[(".site/b.txt", "sub/a.txt")]);
    world.run(["-r", ".site"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt", "temp3/sub/a.txt"]);
}

/// Starts a run over the directory `pub`. While its first file `a` is sent, `swap` changes what else
/// is there.
fn swap_while_a_is_sent(world: &World, arguments: &[&str], swap: impl Fn(&Path)) -> Ran {
    world.file("pub/a", "a");
    world.stand_in.fault(Step::Upload, key("a"), Fault::Hold);
    let child = world.start(["-j", "1", "pub"].iter().chain(arguments));
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    swap(world.dir.path());
    world.stand_in.open_gate();
    world.wait(child)
}

#[test]
fn with_r_what_becomes_a_link_out_of_the_directory_after_it_was_listed_is_not_uploaded() {
    let swaps: [fn(&Path); 4] = [
        |dir| symlink("../../.ssh/id_rsa", dir.join("pub/sub/id_rsa")).unwrap(),
        |dir| symlink("../.git/config", dir.join("pub/sub/id_rsa")).unwrap(),
        |dir| {
            fs::remove_dir(dir.join("pub/sub")).unwrap();
            symlink("../.ssh", dir.join("pub/sub")).unwrap();
        },
        |dir| {
            fs::rename(dir.join("pub"), dir.join("old")).unwrap();
            fs::create_dir(dir.join("pub")).unwrap();
            symlink("../.ssh", dir.join("pub/sub")).unwrap();
        },
    ];
    for swap in swaps {
        let names = ["pub/sub/id_rsa", ".ssh/id_rsa", "pub/.git/config"];
        let world = World::with_files(&names);
        let ran = swap_while_a_is_sent(&world, &["-r"], |dir| {
            fs::remove_file(dir.join("pub/sub/id_rsa")).unwrap();
            swap(dir);
        });
        ran.assert_failure(
            1,
            &["error: pub/sub/id_rsa: 上传文件失败: a link ", "1 failed"],
        );
        assert_eq!(world.keys(), ["temp3/a"]);
    }
}

#[test]
fn what_becomes_a_link_that_stays_inside_is_uploaded() {
    let world = World::with_files(&["pub/b", "pub/sub/c"]);
    let ran = swap_while_a_is_sent(&world, &["-r"], |dir| {
        fs::remove_file(dir.join("pub/b")).unwrap();
        symlink("sub/c", dir.join("pub/b")).unwrap();
    });
    ran.assert_success();
    let object = &world.stand_in.objects()["temp3/b"];
    assert_eq!(object.bytes.as_deref(), Some(&b"pub/sub/c"[..]));
}
