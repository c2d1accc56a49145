//! Failures of the network, of COS and of the API: a run tries again after temporary failures and
//! reports the others.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::{
    Gate, PATIENCE, Ran, World, assert_takes, file_id, judges_windows, key, side_by_side,
};
use stand_in::{Certificate, Fault, StandIn, Step, When};

const FILES: [&str; 3] = ["a.txt", "b.txt", "c.txt"];
const STEPS: [Step; 4] = [Step::Token, Step::Info, Step::Upload, Step::Link];
const API: [Step; 3] = [Step::Token, Step::Info, Step::Link];
const MIB: usize = 1 << 20;

/// What the script said when a step failed.
pub fn stage(step: Step) -> &'static str {
    match step {
        Step::Token => "获取access token失败",
        Step::Info => "获取文件上传链接失败",
        Step::Upload => "上传文件失败",
        _ => "获取下载链接失败",
    }
}

/// The times between the requests of a step.
fn gaps(world: &World, step: Step) -> Vec<f64> {
    let requests = world.stand_in.requests(step);
    requests
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_secs_f64())
        .collect()
}

/// A port that refuses connections as long as the socket exists. Nobody else can get it.
pub fn refusing_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SockAddr::from(std::net::SocketAddr::from((
            [127, 0, 0, 1],
            0,
        ))))
        .unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

// ---- Temporary failures ---------------------------------------------------------------------------------

/// A failure that can pass.
struct TemporaryFailure {
    name: &'static str,
    /// Where it can happen.
    steps: &'static [Step],
    /// A part of the program's message about it.
    message: &'static str,
    fault: fn() -> Fault,
}

impl TemporaryFailure {
    /// Whether no byte of a reply comes.
    fn breaks_off(&self) -> bool {
        self.name.starts_with("a reset")
            || ["a close without a reply", "silence"].contains(&self.name)
    }
}

const fn temporary(
    name: &'static str,
    steps: &'static [Step],
    message: &'static str,
    fault: fn() -> Fault,
) -> TemporaryFailure {
    TemporaryFailure {
        name,
        steps,
        message,
        fault,
    }
}

const TEMPORARY_FAILURES: &[TemporaryFailure] = &[
    temporary("a reset before the body", &STEPS, "reset", || {
        Fault::ResetBeforeReply
    }),
    temporary("a reset in the body", &STEPS, "reset", || {
        Fault::ResetAt(100)
    }),
    temporary("a reset after the body", &STEPS, "reset", || {
        Fault::ResetAfterBody
    }),
    temporary("a close without a reply", &STEPS, "", || Fault::Close),
    temporary("half a reply", &STEPS, "", || Fault::HalfReply),
    temporary("silence", &STEPS, "silent for 3 s (--timeout)", || {
        Fault::Silence
    }),
    temporary("HTTP 408", &STEPS, "HTTP 408", || {
        Fault::status(408, &[], "")
    }),
    temporary("HTTP 500", &STEPS, "HTTP 500", || {
        Fault::status(500, &[], "")
    }),
    temporary("HTTP 503", &STEPS, "HTTP 503", || {
        Fault::status(
            503,
            &[("Content-Type", "text/html")],
            "<html><h1>503 Service Temporarily Unavailable</h1></html>",
        )
    }),
    temporary(
        "COS's ServiceUnavailable",
        &[Step::Upload],
        "HTTP 503 Service Unavailable: ServiceUnavailable",
        || Fault::cos_error(503, "ServiceUnavailable"),
    ),
    temporary("errcode -1", &API, "errcode -1 ", || Fault::Errcode(-1)),
    temporary("errcode -1000", &API, "errcode -1000 ", || {
        Fault::Errcode(-1000)
    }),
    temporary("errcode -501001", &API, "errcode -501001 ", || {
        Fault::Errcode(-501001)
    }),
    temporary("errcode -501002", &API, "errcode -501002 ", || {
        Fault::Errcode(-501002)
    }),
    temporary("a reply that is no JSON", &API, "not JSON", || {
        Fault::Body(b"<html>log in to the hotel's network</html>".into())
    }),
    temporary("an empty reply", &API, "not JSON", || {
        Fault::Body(Vec::new())
    }),
    temporary("deep arrays", &API, "not JSON", || {
        Fault::Body(b"[".repeat(60_000))
    }),
    temporary("deep objects", &API, "not JSON", || {
        Fault::Body(br#"{"a":"#.repeat(10_000))
    }),
    temporary("64 MiB of JSON", &API, "its reply is longer than ", || {
        Fault::Body(
            [
                &br#"{"errcode":0,"errmsg":""#[..],
                &vec![b'a'; 64 * MIB],
                br#""}"#,
            ]
            .concat(),
        )
    }),
    temporary("another checksum", &[Step::Upload], "CRC-64", || {
        Fault::headers(&[("x-cos-hash-crc64ecma", Some("1"))])
    }),
];

/// Each temporary failure at each of its steps, with a name for the case.
fn cases() -> Vec<(String, (Step, &'static TemporaryFailure))> {
    let at_each_step = |failure: &'static TemporaryFailure| {
        let at = move |&step| (format!("{} at {step:?}", failure.name), (step, failure));
        failure.steps.iter().map(at)
    };
    TEMPORARY_FAILURES.iter().flat_map(at_each_step).collect()
}

/// The seconds for `--timeout`. They are short only in the case that lasts that long, and even there
/// a busy machine must have time for the replies that do come.
fn timeout(failure: &TemporaryFailure) -> &'static str {
    if failure.name == "silence" { "3" } else { "30" }
}

#[test]
fn a_temporary_failure_is_tried_again_and_the_run_succeeds() {
    side_by_side(cases(), |(step, failure)| {
        let world = World::https().and_files(&FILES);
        world.stand_in.fault(step, When::Once, (failure.fault)());
        let ran = world.run([
            "--retries",
            "1",
            "--timeout",
            timeout(failure),
            "a.txt",
            "b.txt",
            "c.txt",
        ]);
        ran.assert_success();
        assert!(
            ran.summary().starts_with("3 uploaded (15 B) in "),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.lines().len(), 3);
        for name in FILES {
            let stored = &world.stand_in.objects()[&format!("temp3/{name}")];
            assert_eq!(stored.bytes, Some(name.as_bytes().to_vec()));
        }
        // Every try of an upload starts again at uploadfile. Nothing else happens twice. What breaks
        // off on a connection that step 2 has used is repeated at once, and is no try.
        let once_more = |steps: &[Step], usual| usual + usize::from(steps.contains(&step));
        assert_eq!(world.count(Step::Token), once_more(&[Step::Token], 1));
        assert_eq!(
            world.count(Step::Info),
            if failure.breaks_off() {
                once_more(&[Step::Info], 3)
            } else {
                once_more(&[Step::Info, Step::Upload], 3)
            }
        );
        assert_eq!(world.count(Step::Upload), once_more(&[Step::Upload], 3));
        world.assert_proper();
    });
}

#[test]
fn a_temporary_failure_that_lasts_is_reported_with_a_sentence() {
    side_by_side(cases(), |(step, failure)| {
        let world = World::with_files(&FILES);
        let when = match step {
            Step::Info | Step::Upload => When::Key("temp3/b.txt".into()),
            _ => When::Always,
        };
        world.stand_in.fault(step, when, (failure.fault)());
        let ran = world.run([
            "--retries",
            "1",
            "--timeout",
            timeout(failure),
            "a.txt",
            "b.txt",
            "c.txt",
        ]);
        // Windows may tell that a connection has ended, and not that it was reset.
        let message = match failure.message {
            "reset" if judges_windows() => "",
            message => message,
        };
        ran.assert_failure(
            1,
            &[
                "error: ",
                &format!("{}: ", stage(step)),
                message,
                "(tried 2 times)",
            ],
        );
        assert!(!ran.stderr.contains(": :"), "{}", ran.stderr);
        let errors = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        let of_b = world
            .stand_in
            .requests(step)
            .iter()
            .filter(|request| request.key.as_deref() == Some("temp3/b.txt"))
            .count();
        match step {
            Step::Token => {
                assert_eq!((world.count(step), world.requests(), errors), (2, 2, 1));
                assert!(
                    ran.summary()
                        .starts_with("0 uploaded (0 B), 3 not attempted in ")
                );
            }
            Step::Link => {
                assert_eq!((world.keys().len(), errors), (3, 3));
                let named = |name: &&str| {
                    ran.stderr
                        .contains(&format!("uploaded, as {}", file_id(name)))
                };
                assert!(FILES.iter().all(named), "{}", ran.stderr);
                assert!(ran.summary().starts_with("0 uploaded (0 B), 3 failed in "));
            }
            _ => {
                assert_eq!((errors, ran.lines().len()), (1, 2));
                // Each try may have met a connection that was used before.
                let most = if failure.breaks_off() { 4 } else { 2 };
                assert!((2..=most).contains(&of_b), "{of_b}");
                assert!(ran.stderr.starts_with("error: b.txt: "), "{}", ran.stderr);
                assert!(ran.summary().starts_with("2 uploaded (10 B), 1 failed in "));
            }
        }
        world.assert_proper();
    });
}

/// Sends the next upload, and no other, to a port that refuses connections.
fn refuse_one_upload(world: &World, port: u16) {
    let edit = move |reply: &mut serde_json::Value| {
        reply["url"] = format!("http://127.0.0.1:{port}/cos/elsewhere").into();
    };
    world
        .stand_in
        .fault(Step::Info, When::Once, Fault::edit(edit));
}

#[test]
fn a_refused_connection_is_tried_again_at_each_step() {
    let (_socket, port) = refusing_port();
    let dead = format!("http://127.0.0.1:{port}");
    let arguments = ["--retries", "1", "a.txt"];

    let world = World::with_files(&FILES);
    world.configure(json!({ "api_base": dead }));
    let ran = world.run(arguments);
    ran.assert_failure(
        1,
        &[
            "error: 获取access token失败: 127.0.0.1: ",
            "refused",
            "(tried 2 times)",
        ],
    );
    assert!(ran.summary().contains(" 1 not attempted"), "{}", ran.stderr);

    let world = World::with_files(&FILES);
    world.save_token("saved", json!({ "api_base": dead }));
    let ran = world.run(arguments);
    ran.assert_failure(
        1,
        &[
            "error: a.txt: 获取文件上传链接失败: 127.0.0.1: ",
            "refused",
            "(tried 2 times)",
        ],
    );

    let world = World::with_files(&FILES);
    world.stand_in.set_upload_origin(&dead);
    let ran = world.run(arguments);
    ran.assert_failure(
        1,
        &[
            "error: a.txt: 上传文件失败: 127.0.0.1: ",
            "refused",
            "(tried 2 times)",
        ],
    );
    assert_eq!(world.count(Step::Info), 2);

    let world = World::with_files(&FILES);
    refuse_one_upload(&world, port);
    world.run(arguments).assert_success();
    assert_eq!((world.count(Step::Info), world.count(Step::Upload)), (2, 1));
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let statuses = [400, 401, 404, 405, 411, 413, 418, 431]
        .map(|code| (format!("HTTP {code}"), Fault::status(code, &[], "no")));
    let errcodes = [-2, 1, 40003, 40097, 40101, 43002, 44002, 47001, 99_999]
        .map(|code| (format!("errcode {code} "), Fault::Errcode(code)));
    let words_of = |fault: &(String, Fault)| (fault.0.clone(), fault.1.clone());
    let everywhere = statuses
        .iter()
        .flat_map(|fault| STEPS.map(|step| (step, words_of(fault))));
    let at_api = errcodes
        .iter()
        .flat_map(|fault| API.map(|step| (step, words_of(fault))));
    let cases = everywhere
        .chain(at_api)
        .map(|(step, fault)| (format!("{} at {step:?}", fault.0), (step, fault)));
    side_by_side(cases, |(step, (words, fault))| {
        let world = World::with_files(&FILES);
        world.stand_in.fault(step, When::Once, fault);
        // With one job the first file is the one that fails.
        let ran = world.run(["-j", "1", "a.txt", "b.txt", "c.txt"]);
        ran.assert_failure(1, &[&format!("{}: ", stage(step)), &words]);
        assert!(!ran.stderr.contains(": :"), "{}", ran.stderr);
        let tally = match step {
            Step::Token => "0 uploaded (0 B), 3 not attempted in ",
            _ => "2 uploaded (10 B), 1 failed in ",
        };
        assert_eq!(world.count(Step::Token), 1);
        // A call for links can be for several files, which then all fail.
        if step != Step::Link {
            assert!(ran.summary().starts_with(tally), "{}", ran.stderr);
            let tries = world.count(step);
            assert_eq!(tries, if step == Step::Token { 1 } else { 3 });
        }
        world.assert_proper();
    });
}

// ---- Uploads -------------------------------------------------------------------------------

#[test]
fn a_403_gets_one_more_try_with_a_fresh_signature() {
    for retries in ["0", "3"] {
        let world = World::with_files(&FILES);
        world.stand_in.fault(
            Step::Upload,
            When::Once,
            Fault::cos_error(403, "AccessDenied"),
        );
        world.run(["--retries", retries, "a.txt"]).assert_success();
        let uploads = world.stand_in.requests(Step::Upload);
        assert_eq!((uploads.len(), world.count(Step::Info)), (2, 2));
        assert_ne!(uploads[0].field("Signature"), uploads[1].field("Signature"));

        let world = World::with_files(&FILES);
        world.stand_in.fault(
            Step::Upload,
            When::Always,
            Fault::cos_error(403, "SignatureDoesNotMatch"),
        );
        let ran = world.run(["--retries", retries, "a.txt"]);
        ran.assert_failure(
            1,
            &["error: a.txt: 上传文件失败: HTTP 403 Forbidden: SignatureDoesNotMatch: "],
        );
        assert_eq!((world.count(Step::Upload), world.count(Step::Info)), (2, 2));
    }
}

#[test]
fn an_expired_signature_is_replaced_and_a_refused_time_is_reported() {
    let world = World::with_files(&FILES);
    world.stand_in.set_signature_lifetime(Duration::ZERO);
    world.run(["--retries", "0", "a.txt"]).assert_failure(
        1,
        &["HTTP 403 Forbidden: AccessDenied: Request has expired"],
    );
    assert_eq!(world.count(Step::Upload), 2);
    world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::cos_error(403, "RequestTimeTooSkewed"),
    );
    world
        .run(["--retries", "0", "a.txt"])
        .assert_failure(1, &["RequestTimeTooSkewed", "the time in the signature"]);
}

#[test]
fn a_403_and_a_wait_are_counted_separately() {
    let world = World::with_files(&FILES);
    world.stand_in.fault(
        Step::Upload,
        When::Once,
        Fault::cos_error(500, "InternalError"),
    );
    world.stand_in.fault(
        Step::Upload,
        When::Once,
        Fault::cos_error(403, "AccessDenied"),
    );
    world.run(["--retries", "1", "a.txt"]).assert_success();
    assert_eq!(world.count(Step::Upload), 3);

    let world = World::with_files(&FILES);
    world.stand_in.fault(
        Step::Upload,
        When::Once,
        Fault::cos_error(500, "InternalError"),
    );
    world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::cos_error(403, "AccessDenied"),
    );
    world
        .run(["--retries", "1", "a.txt"])
        .assert_failure(1, &["HTTP 403", "(tried 3 times)"]);
    assert_eq!(world.count(Step::Upload), 3);
}

#[test]
fn an_upload_without_a_checksum_from_cos_succeeds() {
    let world = World::with_files(&FILES);
    world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::headers(&[("x-cos-hash-crc64ecma", None)]),
    );
    world
        .run(["--retries", "0", "a.txt", "b.txt"])
        .assert_success();
    assert_eq!((world.count(Step::Upload), world.keys().len()), (2, 2));
    world.assert_proper();
}

#[test]
fn a_refusal_that_comes_before_the_whole_file_is_sent_is_understood() {
    // COS does this with a file that is too large: it answers and stops reading.
    let world = World::http();
    world.file("large.bin", vec![7; 32 * MIB]);
    let body = "<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>";
    let early = Fault::EarlyStatus {
        code: 503,
        headers: Vec::new(),
        body: body.into(),
    };
    world.stand_in.fault(Step::Upload, When::Once, early);
    world.run(["--retries", "1", "large.bin"]).assert_success();
    assert_eq!(world.count(Step::Upload), 2);
    world.assert_proper();
}

// ---- Waits --------------------------------------------------------------------------------------

#[test]
fn two_failures_wait_half_a_second_and_a_second() {
    side_by_side(STEPS.map(|step| (format!("{step:?}"), step)), |step| {
        assert_takes([0.43..0.9, 0.87..1.5, 1.2..2.5], || {
            let world = World::with_files(&FILES);
            world
                .stand_in
                .fault(step, When::Times(2), Fault::status(500, &[], ""));
            let ran = world.run(["a.txt"]);
            ran.assert_success();
            let waits = gaps(&world, step);
            [waits[0], waits[1], ran.elapsed.as_secs_f64()]
        });
    });
}

#[test]
fn a_longer_retry_after_is_obeyed_if_it_makes_sense() {
    let cases = [
        ("2", 2.0..3.0),
        ("0", 0.43..0.9),
        ("-5", 0.43..0.9),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.43..0.9),
        ("18446744073709551616", 0.43..0.9),
        ("soon", 0.43..0.9),
    ];
    side_by_side(
        cases.map(|case| (case.0.to_owned(), case)),
        |(retry_after, range)| {
            assert_takes([range], || {
                let world = World::with_files(&FILES);
                world.stand_in.fault(
                    Step::Info,
                    When::Once,
                    Fault::status(503, &[("Retry-After", retry_after)], ""),
                );
                world.run(["a.txt"]).assert_success();
                [gaps(&world, Step::Info)[0]]
            });
        },
    );
}

#[test]
fn without_retries_the_run_waits_for_nothing() {
    assert_takes([0.0..2.0], || {
        let world = World::with_files(&FILES);
        world.stand_in.fault(
            Step::Upload,
            When::Once,
            Fault::status(503, &[("Retry-After", "60")], ""),
        );
        let ran = world.run(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, &["HTTP 503"]);
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
        assert_eq!(world.count(Step::Upload), 1);
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn a_run_that_is_stopped_ends_its_waits() {
    assert_takes([0.0..20.0], || {
        let world = World::with_files(&FILES);
        world.stand_in.fault(
            Step::Info,
            key("a.txt"),
            Fault::status(503, &[("Retry-After", "60")], ""),
        );
        world.stand_in.fault(Step::Info, key("b.txt"), Fault::Hold);
        world
            .stand_in
            .fault(Step::Link, When::Always, Fault::Errcode(45009));
        let child = world.start(["a.txt", "b.txt"]);
        assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
        world.stand_in.open_gate();
        let ran = world.wait(child);
        ran.assert_failure(1, &["errcode 45009"]);
        [ran.elapsed.as_secs_f64()]
    });
}

// ---- Silence and slowness -----------------------------------------------------------------------

#[test]
fn a_connection_that_moves_no_byte_ends_after_the_timeout() {
    let kinds = [
        ("silence", Fault::Silence),
        ("no reading", Fault::StopReading),
    ];
    let cases = STEPS.into_iter().flat_map(|step| {
        kinds
            .clone()
            .map(|(kind, fault)| (format!("{kind} at {step:?}"), (step, fault)))
    });
    let worlds: [fn() -> World; 2] = [World::http, World::https];
    let cases =
        cases.flat_map(|(name, case)| worlds.map(|world| (name.clone(), (world, case.clone()))));
    side_by_side(cases, |(world, (step, fault))| {
        let size = match fault {
            Fault::StopReading => 12 * MIB,
            _ => 7,
        };
        assert_takes([0.9..8.0], || {
            let world = world();
            world.file("large.bin", vec![7; size]);
            world.stand_in.fault(step, When::Always, fault.clone());
            let ran = world.run(["--retries", "0", "--timeout", "1", "large.bin"]);
            ran.assert_failure(1, &[stage(step), "silent for 1 s (--timeout)"]);
            [ran.elapsed.as_secs_f64()]
        });
    });
}

#[test]
fn the_timeout_is_not_longer_over_tls() {
    // The time begins again when the system's queue takes a last few bytes: usually twice.
    assert_takes([3.9..14.5], || {
        let world = World::https();
        world.file("large.bin", vec![7; 12 * MIB]);
        world
            .stand_in
            .fault(Step::Upload, When::Always, Fault::StopReading);
        let ran = world.run(["--retries", "0", "--timeout", "4", "large.bin"]);
        ran.assert_failure(1, &["silent for 4 s (--timeout)"]);
        [ran.elapsed.as_secs_f64()]
    });
}

/// Uploads a file of `size` bytes, with a fault that makes `step` slow. Checks that it takes more than
/// twice the timeout, and succeeds.
fn assert_slow_is_fine(step: Step, fault: Fault, size: usize, timeout: u64) {
    let world = World::http();
    let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    world.file("slow.bin", &bytes);
    world.stand_in.fault(step, When::Always, fault);
    let ran = world.run([
        "--retries",
        "0",
        "--timeout",
        &timeout.to_string(),
        "slow.bin",
    ]);
    ran.assert_success();
    assert_eq!(world.stand_in.objects()["temp3/slow.bin"].size, size as u64);
    assert!(
        ran.elapsed > 2 * Duration::from_secs(timeout),
        "that was not slow: {:?}",
        ran.elapsed
    );
    world.assert_proper();
}

#[test]
fn a_slow_connection_that_moves_is_never_cut_off() {
    let trickle = |chunk| Fault::Slow {
        chunk,
        pause: Duration::from_millis(200),
    };
    let upload = Fault::Slow {
        chunk: 64 << 10,
        pause: Duration::from_millis(25),
    };
    let cases = [
        (Step::Token, trickle(5), 1, 3),
        (Step::Info, trickle(20), 1, 3),
        (Step::Link, trickle(8), 1, 3),
        (Step::Upload, upload, 18 * MIB, 3),
    ];
    side_by_side(
        cases.map(|case| (format!("{:?}", case.0), case)),
        |(step, fault, size, timeout)| {
            assert_slow_is_fine(step, fault, size, timeout);
        },
    );
}

#[test]
fn an_upload_that_the_kernel_still_sends_is_not_cut_off() {
    // The whole file fits into the buffers of the sockets: the program has written everything long
    // before the server has read it.
    assert_slow_is_fine(
        Step::Upload,
        Fault::Slow {
            chunk: 8 << 10,
            pause: Duration::from_millis(62),
        },
        MIB,
        3,
    );
}

#[test]
fn connecting_has_its_own_limit() {
    // This host ignores new connections, as its queue is full.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SockAddr::from(std::net::SocketAddr::from((
            [127, 0, 0, 1],
            0,
        ))))
        .unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let _waiting = [TcpStream::connect(full).unwrap()];
    // This host accepts connections and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let cases = [
        (
            format!("http://{full}"),
            "30",
            "no connection within 10 s",
            9.5..14.0,
        ),
        (
            format!("https://{}", mute.local_addr().unwrap()),
            "30",
            "no connection within 10 s",
            9.5..14.0,
        ),
        (
            format!("https://{}", mute.local_addr().unwrap()),
            "2",
            "",
            1.9..14.0,
        ),
    ];
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(base, timeout, words, range)| {
            assert_takes([range], || {
                let world = World::with_files(&FILES);
                world.configure(json!({ "api_base": base }));
                let ran = world.run(["--retries", "0", "--timeout", timeout, "a.txt"]);
                ran.assert_failure(1, &["获取access token失败: 127.0.0.1: ", words]);
                [ran.elapsed.as_secs_f64()]
            });
        },
    );
}

// ---- Files that change --------------------------------------------------------------------------

#[test]
fn files_that_change_before_they_are_sent_do_not_harm_others() {
    let world = World::http();
    let [first, gone, folder, grown] =
        ["a-first", "b-gone", "c-folder", "d-grown"].map(|name| world.file(name, name));
    world.file("e-last", "e-last");
    let change = {
        let (gone, folder, grown) = (gone.clone(), folder.clone(), grown.clone());
        move |_: &_| {
            fs::remove_file(&gone).unwrap();
            fs::remove_file(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
            fs::write(&grown, "d-grown and more").unwrap();
            None
        }
    };
    // No file is open yet.
    world
        .stand_in
        .fault(Step::Token, When::Once, Fault::custom(change));
    let ran = world.run([
        &"-j1".into(),
        &first,
        &gone,
        &folder,
        &grown,
        &world.path("e-last"),
    ]);
    ran.assert_failure(
        1,
        &[
            "b-gone: 上传文件失败: cannot be opened: ",
            "c-folder: 上传文件失败: cannot be opened: it is not a regular file",
        ],
    );
    assert!(
        ran.summary().starts_with("3 uploaded (29 B), 2 failed"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        world.keys(),
        ["temp3/a-first", "temp3/d-grown", "temp3/e-last"]
    );
    assert_eq!(
        world.stand_in.objects()["temp3/d-grown"].bytes.as_deref(),
        Some(&b"d-grown and more"[..])
    );
    assert_eq!(world.count(Step::Info), 3);
    world.assert_proper();
}

#[test]
fn a_file_that_grows_over_5_gib_after_it_was_listed_is_not_uploaded() {
    let world = World::with_files(&["a.txt", "b.txt"]);
    world.stand_in.fault(Step::Info, key("b.txt"), Fault::Hold);
    let child = world.start(["-j", "1", "a.txt", "b.txt"]);
    assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
    let grown = File::options().write(true).open(world.path("b.txt"));
    grown.unwrap().set_len((5 << 30) + 1).unwrap();
    world.stand_in.open_gate();
    let ran = world.wait(child);
    ran.assert_failure(1, &["error: b.txt: 上传文件失败: ", "5 GiB", "1 uploaded"]);
    assert_eq!((world.keys().len(), world.count(Step::Upload)), (1, 1));
}

#[test]
fn a_file_over_5_gib_fails_before_anything_is_asked_for_it() {
    let world = World::with_files(&FILES);
    let huge = File::create(world.path("huge.bin")).unwrap();
    huge.set_len(5 << 30).unwrap();
    world.run(["--dry-run", "huge.bin"]).assert_success();
    huge.set_len((5 << 30) + 1).unwrap();
    let ran = world.run(["huge.bin", "a.txt"]);
    ran.assert_failure(1, &["error: huge.bin: 上传文件失败: ", "5 GiB"]);
    assert_eq!(
        (world.keys(), world.count(Step::Info)),
        (vec!["temp3/a.txt".to_owned()], 1)
    );
}

// ---- Links --------------------------------------------------------------------------------------

#[test]
fn links_find_their_files_in_any_order() {
    type Edit = fn(&mut Vec<serde_json::Value>);
    let good = "5 uploaded (5 B) in ";
    let cases: [(&str, Edit, &str, &str); 9] = [
        ("in another order", |links| links.reverse(), "", good),
        ("rotated", |links| links.rotate_left(1), "", good),
        ("each twice", |links| links.extend(links.clone()), "", good),
        (
            "one more",
            |links| links.push(json!({ "fileid": "cloud://x", "download_url": "u", "status": 0 })),
            "",
            good,
        ),
        (
            "junk between",
            |links| {
                links
                    .splice(0..0, [json!(null), json!(7), json!([]), json!({})])
                    .for_each(drop)
            },
            "",
            good,
        ),
        (
            "one fewer",
            |links| links.retain(|link| !is_for(link, "3")),
            "no link for it",
            "4 uploaded (4 B), 1 failed",
        ),
        (
            "none",
            Vec::clear,
            "no link for it",
            "0 uploaded (0 B), 5 failed",
        ),
        (
            "one that is not there",
            |links| {
                for link in links.iter_mut().filter(|link| is_for(link, "3")) {
                    link["errmsg"] = "STORAGE_FILE_NONEXIST".into();
                    link["download_url"] = "".into();
                }
            },
            "STORAGE_FILE_NONEXIST",
            "4 uploaded (4 B), 1 failed",
        ),
        (
            "an odd status",
            |links| {
                for link in links.iter_mut().filter(|link| is_for(link, "3")) {
                    link["status"] = (-501_007).into();
                    link["errmsg"] = "invalid parameters".into();
                }
            },
            "status -501007: invalid parameters",
            "4 uploaded (4 B), 1 failed",
        ),
    ];
    side_by_side(
        cases.map(|case| (case.0.to_owned(), case)),
        |(_, edit, words, tally)| {
            let names = ["0", "1", "2", "3", "4"];
            let world = World::with_files(&names);
            let edit_reply = move |reply: &mut serde_json::Value| {
                let links = reply["file_list"].as_array_mut();
                links.into_iter().for_each(edit);
            };
            // The first call for links is for the first file alone. Its reply is held back until
            // the other files are uploaded, so that the next call is for several files.
            let other_files = Gate::default();
            for name in &names[1..] {
                let hold = other_files.hold();
                world.stand_in.fault(Step::Info, key(name), hold);
            }
            world.stand_in.fault(Step::Link, When::Once, Fault::Hold);
            world
                .stand_in
                .fault(Step::Link, When::Always, Fault::edit(edit_reply));
            let child = world.start(["-j", "1"].iter().chain(&names));
            assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
            other_files.open();
            assert!(world.stand_in.wait_for(Step::Upload, 5, PATIENCE));
            world.stand_in.open_gate();
            let ran = world.wait(child);
            let calls = world.stand_in.requests(Step::Link);
            assert!(
                calls
                    .iter()
                    .any(|call| call.json()["file_list"].as_array().unwrap().len() > 1)
            );
            for line in ran.lines() {
                let [name, url, id] = *line.split('\t').collect::<Vec<_>>() else {
                    panic!("{line}")
                };
                assert!(
                    url.ends_with(&format!("/download/temp3/{name}")) && id == file_id(name),
                    "{line}"
                );
            }
            if words.is_empty() {
                ran.assert_success();
                assert_eq!(ran.lines().len(), 5);
            } else {
                ran.assert_failure(1, &["error: 3: 获取下载链接失败: ", words, &file_id("3")]);
            }
            // The reply to the first call was not edited.
            let tally = tally.replace("0 uploaded (0 B), 5 failed", "1 uploaded (1 B), 4 failed");
            assert!(ran.summary().starts_with(&tally), "{}", ran.stderr);
        },
    );
}

fn is_for(link: &serde_json::Value, name: &str) -> bool {
    link["fileid"] == file_id(name)
}

/// The reason of this refusal is in the part of the reply that does not come.
#[test]
fn a_refusal_that_breaks_off_is_tried_again() {
    let world = World::with_files(&["a.txt"]);
    let half = "HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n<Error><Code>Incompl";
    let refusal = Fault::edit_bytes(|reply| *reply = half.into());
    world.stand_in.fault(Step::Upload, When::Once, refusal);
    world.run(["a.txt"]).assert_success();
    assert_eq!(world.count(Step::Upload), 2);
}

// ---- Other servers ----------------------------------------------------------------------------------

#[test]
fn redirects_are_not_followed() {
    let cases = STEPS.iter().flat_map(|&step| {
        [301, 302, 303, 307, 308].map(|code| (format!("{code} at {step:?}"), (step, code)))
    });
    side_by_side(cases, |(step, code)| {
        let (world, elsewhere) = (World::with_files(&FILES), StandIn::http());
        let location = format!("{}/tcb/uploadfile", elsewhere.base());
        world.stand_in.fault(
            step,
            When::Always,
            Fault::status(code, &[("Location", &location)], ""),
        );
        let ran = world.run(["a.txt"]);
        ran.assert_failure(
            1,
            &[
                stage(step),
                &format!("HTTP {code}"),
                "redirects are not followed",
            ],
        );
        assert_eq!((world.count(step), elsewhere.connections()), (1, 0));
    });
}

#[test]
fn a_plain_http_upload_url_of_an_https_api_is_refused() {
    let (world, elsewhere) = (World::https().and_files(&FILES), StandIn::http());
    world.stand_in.set_upload_origin(&elsewhere.base());
    let ran = world.run(["a.txt"]);
    ran.assert_failure(
        1,
        &["error: a.txt: 上传文件失败: 127.0.0.1: plain http is refused"],
    );
    assert_eq!((elsewhere.connections(), world.count(Step::Info)), (0, 1));
}

#[test]
fn bad_certificates_are_reported_with_advice() {
    use Certificate::{Authority, Expired, OtherHost, UnknownAuthority};
    let cases = [
        (Expired, "certificate expired", "clock"),
        (OtherHost, "other.example", "another server has answered"),
        (UnknownAuthority, "UnknownIssuer", "SSL_CERT_FILE"),
        (
            Authority,
            "CaUsedAsEndEntity",
            "an authority's certificate as its own",
        ),
    ];
    let cases = cases.map(|case| (format!("{:?}", case.0), case));
    side_by_side(cases, |(certificate, what, help)| {
        // The certificate of the API …
        let world = World::with(StandIn::https_with(certificate)).and_files(&FILES);
        let ran = world.run(["a.txt"]);
        ran.assert_failure(
            1,
            &[
                "error: 获取access token失败: localhost: ",
                what,
                help,
                "1 not attempted",
            ],
        );
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
        assert!(
            !ran.stderr.contains("Other(") && !ran.stderr.contains("DnsName"),
            "{}",
            ran.stderr
        );
        let hints = ["SSL_CERT_FILE", "clock", "another server", "as its own"];
        let given = hints.iter().filter(|hint| ran.stderr.contains(**hint));
        assert_eq!(given.count(), 1, "{}", ran.stderr);
        assert_eq!(world.requests(), 0);
        // … and only that of COS.
        let (world, cos) = (
            World::https().and_files(&FILES),
            StandIn::https_with(certificate),
        );
        world.stand_in.set_upload_origin(&cos.base());
        let both = world.file(
            "both.pem",
            format!("{}{}", world.stand_in.ca_pem, cos.ca_pem),
        );
        let mut command = world.command(["a.txt"]);
        command.env("SSL_CERT_FILE", both);
        let ran = world.finish(command);
        ran.assert_failure(
            1,
            &[
                "error: a.txt: 上传文件失败: localhost: ",
                what,
                help,
                "1 failed",
            ],
        );
        assert!(cos.requests(Step::Upload).is_empty());
    });
}

#[test]
fn without_ssl_cert_file_a_private_authority_is_unknown() {
    let world = World::https().and_files(&FILES);
    let mut command = world.command(["a.txt"]);
    command.env_remove("SSL_CERT_FILE");
    world.finish(command).assert_failure(1, &["SSL_CERT_FILE"]);
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_useless_ssl_cert_file_is_refused_at_once() {
    let world = World::https().and_files(&FILES);
    let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\n";
    let torn = "-----BEGIN CERTIFICATE-----\nMIIB!!!\n";
    let useless = ["", "no PEM at all", key, torn]
        .map(|text| world.file(format!("{}.pem", text.len()), text));
    let missing = [world.path("missing.pem"), world.dir.path().to_owned()];
    for path in useless.iter().chain(&missing) {
        let mut command = world.command(["a.txt"]);
        command.env("SSL_CERT_FILE", path);
        let ran = world.finish(command);
        ran.assert_failure(2, &["error: SSL_CERT_FILE: ", path.to_str().unwrap()]);
        assert_eq!(
            (ran.stderr.lines().count(), world.requests()),
            (1, 0),
            "{}",
            ran.stderr
        );
    }
}

// ---- Proxies ------------------------------------------------------------------------------------

/// A small CONNECT proxy, and the heads of the requests that it got.
struct ConnectProxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// Answers every CONNECT with `status`. After 200 it connects the client with the server.
    fn start(status: &'static str) -> ConnectProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || lead(client, status, &seen));
            }
        });
        ConnectProxy { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn lead(mut client: TcpStream, status: &str, heads: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let target = head.split(' ').nth(1)?.to_owned();
    heads.lock().unwrap().push(head);
    write!(client, "HTTP/1.1 {status}\r\n\r\n").ok()?;
    if status.starts_with("200") {
        let mut server = TcpStream::connect(target).ok()?;
        let (mut back, mut out) = (server.try_clone().ok()?, client.try_clone().ok()?);
        thread::spawn(move || {
            std::io::copy(&mut back, &mut out).ok();
            out.shutdown(Shutdown::Write).ok();
        });
        std::io::copy(&mut reader, &mut server).ok();
        server.shutdown(Shutdown::Write).ok();
    }
    Some(())
}

/// Runs with these variables in the environment.
fn run_with(world: &World, variables: &[(&str, &str)]) -> Ran {
    let mut command = world.command(["--retries", "0", "a.txt"]);
    command.envs(variables.iter().copied());
    world.finish(command)
}

#[test]
fn the_proxy_that_the_environment_names_is_used() {
    let proxy = ConnectProxy::start("200 OK");
    let url = format!("http://{}", proxy.address);
    let socks = "socks5://127.0.0.1:1";
    let cases: [&[(&str, &str)]; 5] = [
        &[("HTTPS_PROXY", &url)],
        &[("https_proxy", &url)],
        &[("ALL_PROXY", &url)],
        &[
            ("HTTPS_PROXY", &url),
            ("ALL_PROXY", socks),
            ("NO_PROXY", "example.com,.example.org"),
        ],
        &[("HTTPS_PROXY", &proxy.address)],
    ];
    for variables in cases {
        let world = World::https().and_files(&FILES);
        let asked_before = proxy.heads().len();
        run_with(&world, variables).assert_success();
        let host = world.stand_in.base().replace("https://", "");
        let heads = &proxy.heads()[asked_before..];
        assert!(
            !heads.is_empty()
                && heads
                    .iter()
                    .all(|head| head.starts_with(&format!("CONNECT {host} "))),
            "{heads:?}"
        );
        assert_eq!(
            (heads.len(), world.keys().len()),
            (world.stand_in.connections(), 1)
        );
        world.assert_proper();
    }
}

#[test]
fn a_record_of_tls_itself_in_the_middle_of_an_upload_costs_no_try() {
    let world = World::https();
    world.file("file.bin", vec![b'x'; 4 << 20]);
    for bytes in [64 << 10, 1 << 20, 3 << 20] {
        let when = When::Nth(world.count(Step::Upload) + 1);
        world
            .stand_in
            .fault(Step::Upload, when, Fault::NewKeys(bytes));
        world.run(["--retries", "0", "file.bin"]).assert_success();
    }
    assert_eq!(world.count(Step::Upload), 3);
    world.assert_proper();
}

#[test]
fn no_proxy_leads_around_the_proxy() {
    let (_socket, port) = refusing_port();
    let dead = format!("http://127.0.0.1:{port}");
    for no_proxy in [
        "localhost",
        " * ",
        "example.com, localhost",
        "example.com localhost.",
        "LOCALHOST",
    ] {
        let world = World::https().and_files(&FILES);
        run_with(&world, &[("HTTPS_PROXY", &dead), ("NO_PROXY", no_proxy)]).assert_success();
    }
    for no_proxy in ["example.com,host", "example.com,*"] {
        let world = World::https().and_files(&FILES);
        let ran = run_with(&world, &[("HTTPS_PROXY", &dead), ("NO_PROXY", no_proxy)]);
        let proxied =
            format!("error: 获取access token失败: localhost, through the proxy 127.0.0.1:{port}: ");
        ran.assert_failure(1, &[&proxied, "refused"]);
        assert_eq!(world.requests(), 0);
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_with_a_sentence() {
    for variables in [
        [("ALL_PROXY", "socks5://127.0.0.1:1")],
        [("HTTPS_PROXY", "http://user:pa55w0rd@")],
    ] {
        let world = World::https().and_files(&FILES);
        let ran = run_with(&world, &variables);
        ran.assert_failure(2, &["http://HOST:PORT"]);
        // Windows does not tell capitals from small letters.
        let named = ran.stderr.to_ascii_uppercase();
        assert!(named.contains(variables[0].0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("pa55w0rd"), "{}", ran.stderr);
        assert_eq!(world.requests(), 0);
    }
}

#[test]
fn a_proxys_password_reaches_the_proxy_and_is_never_shown() {
    let proxy = ConnectProxy::start("200 OK");
    let world = World::https().and_files(&FILES);
    let url = format!("http://user:pa55w0rd@{}", proxy.address);
    run_with(&world, &[("HTTPS_PROXY", &url)]).assert_success();
    let basic = "Basic dXNlcjpwYTU1dzByZA==".to_ascii_lowercase(); // user:pa55w0rd
    assert!(
        proxy
            .heads()
            .iter()
            .all(|head| head.to_ascii_lowercase().contains(&basic)),
        "{:?}",
        proxy.heads()
    );

    let (_socket, port) = refusing_port();
    let dead = format!("127.0.0.1:{port}");
    let refusing = [
        "407 Proxy Authentication Required",
        "403 Forbidden",
        "502 Bad Gateway",
        "nonsense",
    ]
    .map(ConnectProxy::start);
    for address in refusing.iter().map(|proxy| &proxy.address).chain([&dead]) {
        let ran = run_with(
            &world,
            &[("HTTPS_PROXY", &format!("http://user:pa55w0rd@{address}"))],
        );
        ran.assert_failure(
            1,
            &[&format!("失败: localhost, through the proxy {address}: ")],
        );
        assert!(
            !ran.stderr.contains("pa55w0rd") && !ran.stderr.contains("dXNlcj"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn plain_http_to_the_api_uses_no_https_proxy() {
    // As with curl: HTTPS_PROXY is only for https.
    let (_socket, port) = refusing_port();
    let world = World::with_files(&FILES);
    run_with(
        &world,
        &[("HTTPS_PROXY", &format!("http://127.0.0.1:{port}"))],
    )
    .assert_success();
}

#[test]
fn a_refusal_that_comes_before_the_body_is_read_is_reported() {
    let body = b"<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>";
    let world = World::https();
    world.file("large.bin", vec![7; 30 * MIB]);
    let refusal = Fault::EarlyStatus {
        code: 403,
        headers: Vec::new(),
        body: body.to_vec(),
    };
    world.stand_in.fault(Step::Upload, When::Always, refusal);
    world.run(["large.bin"]).assert_failure(
        1,
        &["HTTP 403 Forbidden: AccessDenied: not yours (tried 2 times)"],
    );
    assert_eq!(world.count(Step::Upload), 2);
}

#[test]
fn uploads_go_on_while_nobody_reads_the_results() {
    let files = 1200; // their results are longer than the 64 KiB that a pipe holds
    let world = World::with_many(files);
    let child = world.start(["-q", "files"]);
    assert!(world.stand_in.wait_for(Step::Upload, files, PATIENCE));
    let ran = world.wait(child);
    assert_eq!((ran.status, ran.lines().len()), (Some(0), files));
}
