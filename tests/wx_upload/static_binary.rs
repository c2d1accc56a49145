//! The binary alone: copied onto a machine that has nothing else.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use crate::harness::{World, binary};
use crate::unix::install;

/// Answers every question for an IPv4 address with 127.0.0.1, and every other question with nothing.
fn name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53")
        .expect("port 53, where a resolver without a configuration asks");
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            let question = &question[..length];
            let is_ipv4 = question[length - 4..length - 2] == [0, 1];
            let answer: &[u8] = if is_ipv4 {
                b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01"
            } else {
                b""
            };
            let count = [0, u8::from(is_ipv4)];
            let head = [
                &question[..2],
                b"\x81\x80",
                &question[4..6],
                &count,
                &[0; 4],
                &question[12..],
                answer,
            ];
            socket.send_to(&head.concat(), asker).ok();
        }
    });
}

#[test]
#[ignore = "needs root, port 53 and a static binary: .ci/run has them"]
fn the_binary_runs_over_tls_by_host_name_in_an_empty_root() {
    name_server();
    let world = World::https();
    world.file("154190339_附件/图片.png", "a picture");
    install(&binary(), &world.path("wx-upload"));
    world.stand_in.ca_file(world.dir.path());
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .arg(world.dir.path())
        .arg("/wx-upload")
        .env_clear()
        .env("SSL_CERT_FILE", "/ca.pem");
    let ran = world.finish(command);
    ran.assert_success();
    assert_eq!(world.keys(), ["temp3/图片.png"]);
    world.assert_proper();
    let mut left: Vec<_> = fs::read_dir(world.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["154190339_附件", "ca.pem", "config.json", "wx-upload"]
    );
}
