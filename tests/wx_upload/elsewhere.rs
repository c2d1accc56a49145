//! The test that every binary has to pass, even if it runs only under an emulator here. `.ci/run`
//! names such binaries in `WX_UPLOAD_BIN`.

use stand_in::Step;

use crate::harness::World;

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
