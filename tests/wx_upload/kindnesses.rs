//! What makes the program easy to live with: for those who call it from an editor, mistype, or start
//! from nothing.

use crate::harness::World;

// ---- Editors ------------------------------------------------------------------------------------

#[test]
fn a_first_path_upload_that_is_no_file_is_passed_over() {
    for word in ["upload", "u"] {
        let world = World::with_files(&["a.png", "b.png", "154190339_附件/private.txt"]);
        let ran = world.run([word, "-f", "url", "a.png", "b.png"]);
        assert_eq!(ran.assert_success().lines().len(), 2);
        assert_eq!(world.keys(), ["temp3/a.png", "temp3/b.png"]);
        world.assert_proper();
    }
}

#[test]
fn upload_alone_uploads_nothing() {
    let world = World::with_files(&["154190339_附件/private.txt"]);
    for arguments in [
        ["upload"].as_slice(),
        &["u"],
        &["-q", "-f", "url", "upload"],
    ] {
        let ran = world.run(arguments);
        world.assert_refused(&ran, &["upload", "PATH", "--help"]);
    }
    assert_eq!(world.stand_in.connections(), 0);
}

#[test]
fn a_file_or_directory_upload_is_uploaded() {
    let world = World::with_files(&["u", "upload/a.png", "b.png"]);
    let ran = world.run(["upload", "b.png"]);
    assert_eq!(ran.assert_success().lines().len(), 2);
    world.run(["u"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.png", "temp3/b.png", "temp3/u"]);
}

#[test]
fn only_the_first_path_is_passed_over() {
    let world = World::with_files(&["a.png"]);
    for arguments in [["a.png", "upload"], ["upload", "u"], ["u", "uploads"]] {
        let ran = world.run(arguments);
        world.assert_refused(&ran, &[arguments[1]]);
    }
}
