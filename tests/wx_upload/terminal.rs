//! The program on a real pseudo-terminal, and what a person sees on the screen.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portable_pty::{MasterPty, PtySize, native_pty_system};
use serde_json::Value;

use crate::harness::{PATIENCE, Streams, World, key, side_by_side, spawn_with};
#[cfg(target_os = "linux")]
use crate::unix::OtherSystem;
use stand_in::{Fault, Step, When};

const MIB: usize = 1 << 20;

// ---- The terminal -------------------------------------------------------------------------------

/// A terminal, and a program that runs on it.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    /// The side of the programs. The screen ends when the last of them has closed it.
    tty: Option<File>,
    screen: Arc<Mutex<Screen>>,
    reader: Option<JoinHandle<()>>,
    child: Option<Child>,
}

pub struct Screen {
    parser: vt100::Parser,
    /// All bytes that came.
    raw: Vec<u8>,
}

impl Screen {
    fn new(rows: u16, columns: u16) -> Screen {
        let size = |n| NonZeroU16::new(n).expect("a size");
        Screen {
            parser: vt100::Parser::new(size(rows), size(columns), 0),
            raw: Vec::new(),
        }
    }

    fn see(&mut self, bytes: &[u8]) {
        self.raw.extend(bytes);
        self.parser.process(bytes);
    }

    /// The lines on the screen, without blanks at their ends. A line in several rows is one line.
    pub fn lines(&self) -> Vec<String> {
        let contents = self.parser.screen().contents();
        contents
            .trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// How many rows of the screen the lines take, without blank rows at the end.
    fn rows(&self) -> usize {
        let (_, columns) = self.parser.screen().size();
        let rows: Vec<_> = self.parser.screen().rows(0, columns.get()).collect();
        rows.iter()
            .rposition(|row| !row.trim().is_empty())
            .map_or(0, |last| last + 1)
    }
}

/// What is on the screen at one moment.
pub struct View {
    pub lines: Vec<String>,
    /// How many rows the lines take.
    rows: usize,
}

/// The results when the program has ended.
pub struct Seen {
    pub status: Option<i32>,
    /// The output that went into a pipe.
    piped: String,
    lines: Vec<String>,
    pub raw: String,
}

impl Terminal {
    pub fn new(rows: u16, columns: u16) -> Terminal {
        let pair = native_pty_system()
            .openpty(size(rows, columns))
            .expect("a pseudo-terminal");
        let name = pair.master.tty_name().expect("a terminal has a name");
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("a terminal that can be opened");
        let screen = Arc::new(Mutex::new(Screen::new(rows, columns)));
        let mut output = pair
            .master
            .try_clone_reader()
            .expect("the terminal's other side");
        let reader = thread::spawn({
            let screen = Arc::clone(&screen);
            move || {
                let mut bytes = [0; 4096];
                // At the end, Linux returns EIO and other systems return 0.
                while let Ok(count @ 1..) = output.read(&mut bytes) {
                    screen.lock().unwrap().see(&bytes[..count]);
                }
            }
        });
        Terminal {
            master: pair.master,
            tty: Some(tty),
            screen,
            reader: Some(reader),
            child: None,
        }
    }

    /// One of a program's three streams.
    fn stream(&self) -> Stdio {
        self.tty
            .as_ref()
            .and_then(|tty| tty.try_clone().ok())
            .expect("one more handle")
            .into()
    }

    /// Starts the program with its streams on the terminal, except for those in `piped`.
    pub fn start(&mut self, command: Command, piped: &[Piped]) {
        let mut streams = Streams {
            stdin: self.stream(),
            stdout: self.stream(),
            stderr: self.stream(),
        };
        for stream in piped {
            match stream {
                Piped::Stdout => streams.stdout = Streams::piped().stdout,
                Piped::Stderr => streams.stderr = Streams::piped().stderr,
            };
        }
        self.child = Some(spawn_with(streams, command));
    }

    /// Waits until the screen meets `condition`, and fails if it never does. Returns what was on the
    /// screen at that moment: a moment later the program may be in the middle of drawing.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Screen) -> bool) -> View {
        let started = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap();
            if condition(&screen) {
                return View {
                    lines: screen.lines(),
                    rows: screen.rows(),
                };
            }
            assert!(
                started.elapsed() < PATIENCE,
                "never on the screen: {what}; but:\n{}",
                screen.lines().join("\n")
            );
            drop(screen);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes the window wider or narrower. `adjust` changes the screen in the way of one kind of
    /// terminals.
    fn resize(&self, rows: u16, columns: u16, adjust: impl Fn(&mut Screen, u16, u16)) {
        let mut screen = self.screen.lock().unwrap();
        adjust(&mut screen, rows, columns);
        self.master.resize(size(rows, columns)).expect("a new size");
    }

    /// Waits for the end of the program, and checks that it showed no secret.
    pub fn finish(mut self, world: &World) -> Seen {
        self.tty = None;
        let child = self.child.take().expect("a program that was started");
        let ran = world.wait(child);
        self.reader.take().map(JoinHandle::join);
        let screen = self.screen.lock().unwrap();
        let raw = String::from_utf8(screen.raw.clone()).expect("output in UTF-8");
        for secret in world.stand_in.secrets() {
            assert!(
                !raw.contains(&secret),
                "the secret {secret} was on the terminal: {raw:?}"
            );
        }
        Seen {
            status: ran.status,
            piped: ran.stdout + &ran.stderr,
            lines: screen.lines(),
            raw,
        }
    }
}

impl Drop for Terminal {
    /// A test that fails leaves no program behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[derive(Clone, Copy)]
pub enum Piped {
    Stdout,
    Stderr,
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        ..PtySize::default()
    }
}

// ---- Helpers --------------------------------------------------------------------------

/// A world with files of these sizes, with the names `1`, `2` …
fn world(sizes: &[usize]) -> World {
    let world = World::http();
    let mut names = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        let name = (index + 1).to_string();
        world.file(format!("files/{name}"), vec![b'x'; *size]);
        names.push(name);
    }
    names.sort();
    world.put_in_order(&names);
    world
}

fn url(world: &World, name: impl std::fmt::Display) -> String {
    format!("{}/download/temp3/{name}", world.stand_in.base())
}

/// The program as a person starts it, with one upload at a time.
fn command(world: &World, options: &[&str]) -> Command {
    let mut command = world.command(
        ["-f", "url", "-j", "1"]
            .iter()
            .chain(options)
            .chain(&["files"]),
    );
    command.env("TERM", "xterm-256color");
    command
}

/// Whether a line is the progress. It ends with the time left if that is known.
fn is_progress(line: &str) -> bool {
    let ends = ["/s", " left", "waits for COS to confirm"];
    line.contains(" files, ") && ends.iter().any(|end| line.ends_with(end))
}

/// The bytes done and the bytes of all files, as the progress shows them.
fn progress_bytes(screen: &Screen) -> Option<(String, String)> {
    let lines = screen.lines();
    let (done, total) = lines
        .last()
        .filter(|line| is_progress(line))?
        .split(", ")
        .nth(1)?
        .split_once('/')?;
    Some((done.to_owned(), total.to_owned()))
}

fn is_summary(line: &str) -> bool {
    let words = [" uploaded (", ") in "];
    words.iter().all(|word| line.contains(word)) && line.ends_with(" s")
}

// ---- Long lists ---------------------------------------------------------------------------------

/// Runs on a system that needs more than a second for a list. A line shows how far it is, and is gone at
/// the end.
#[cfg(target_os = "linux")]
fn assert_shows_reading(world: &World, slow: &OtherSystem, options: &[&str], words: &str) {
    let mut terminal = Terminal::new(24, 200);
    let mut command = command(world, options);
    slow.show_to(&mut command);
    terminal.start(command, &[]);
    let seen = terminal.wait_for(words, |screen| {
        let lines = screen.lines();
        lines.last().is_some_and(|line| line.contains(words))
    });
    assert_eq!(seen.lines.len(), 1, "{:?}", seen.lines);
    let seen = terminal.finish(world);
    assert_eq!(seen.status, Some(0), "{:?}", seen.lines);
    assert!(
        seen.lines.last().unwrap().contains("uploaded ("),
        "{:?}",
        seen.lines
    );
    assert!(!seen.lines.concat().contains(words), "{:?}", seen.lines);
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_shows_how_far_a_long_listing_is() {
    let Some(slow) = OtherSystem::with_facts("usleep(30000);") else {
        return;
    };
    let world = world(&[1; 40]);
    for options in [&["-n"][..], &[]] {
        assert_shows_reading(&world, &slow, options, "listing the files: ");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_shows_how_far_a_long_manifest_is() {
    let slow = OtherSystem::compiled(&[
        "#define _GNU_SOURCE",
        "#include <fcntl.h>",
        "#include <sys/syscall.h>",
        "#include <unistd.h>",
        "ssize_t read(int fd, void *bytes, size_t count) {",
        "if (fcntl(fd, F_GETFL) & O_APPEND) usleep(50000);",
        "return syscall(SYS_read, fd, bytes, count); }\n",
    ]);
    let Some(slow) = slow else {
        return;
    };
    let world = world(&[1]);
    let options = ["--manifest", "sent.jsonl"];
    world.run(options.iter().chain(&["files"])).assert_success();
    let line = std::fs::read_to_string(world.path("sent.jsonl")).unwrap();
    world.file("sent.jsonl", line.repeat(2_000)); // 500 kB, in pieces of 8 KiB
    assert_shows_reading(&world, &slow, &options, "reading the manifest: ");
}

// ---- Progress -----------------------------------------------------------------------------------

#[test]
fn progress_shows_what_a_run_waits_for() {
    let world = world(&[1, 1, 1]);
    let slow_down = Fault::status(429, &[("Retry-After", "1")], "");
    world.stand_in.fault(Step::Upload, When::Once, slow_down);
    world.stand_in.fault(Step::Upload, key("3"), Fault::Silence);
    let mut terminal = Terminal::new(24, 200);
    terminal.start(command(&world, &[]), &[]);
    let shows = |words: &str| {
        terminal.wait_for(words, |screen| {
            let lines = screen.lines();
            lines.last().is_some_and(|line| line.ends_with(words))
        });
    };
    shows(" B, waiting: the service asked to slow down");
    assert!(world.stand_in.wait_for(Step::Upload, 4, PATIENCE));
    world.stand_in.close_port();
    world.stand_in.break_connections();
    shows(" B, waiting: no connection can be made");
    world.stand_in.clear_faults();
    world.stand_in.open_port();
    let seen = terminal.finish(&world);
    assert_eq!(seen.status, Some(0));
    assert!(is_summary(seen.lines.last().unwrap()), "{:?}", seen.lines);
}

#[test]
fn progress_tells_from_the_first_try_that_there_is_no_connection() {
    let world = world(&[1]);
    world.stand_in.close_port();
    let mut terminal = Terminal::new(24, 200);
    terminal.start(command(&world, &[]), &[]);
    let words = " B, waiting: no connection can be made";
    terminal.wait_for(words, |screen| {
        let lines = screen.lines();
        lines.last().is_some_and(|line| line.ends_with(words))
    });
    assert_eq!(terminal.finish(&world).status, Some(1));
}

#[test]
fn progress_shows_files_and_bytes_done_of_all_the_rate_and_the_time_left() {
    let world = world(&[MIB, 2 * MIB, 3 * MIB, 4 * MIB]);
    world.stand_in.fault(Step::Upload, key("3"), Fault::Hold);
    let mut terminal = Terminal::new(24, 80);
    terminal.start(command(&world, &[]), &[]);
    terminal.wait_for("two files of four, with the bytes of three", |screen| {
        let lines = screen.lines();
        let line = lines.last().map(String::as_str).unwrap_or_default();
        let parts: Vec<_> = line.split(", ").collect();
        is_progress(line)
            && parts[..2] == ["2/4 files", "6.0 MiB/10.0 MiB"]
            && parts[2].ends_with("B/s")
            && !parts[2].starts_with("0 ")
            && parts[3].ends_with(" left")
    });
    world.stand_in.open_gate();
    let seen = terminal.finish(&world);
    assert_eq!(seen.status, Some(0));
    world.assert_proper();
}

#[test]
fn no_time_is_shown_before_a_byte_is_sent() {
    let world = world(&[MIB]);
    world.stand_in.fault(Step::Info, When::Always, Fault::Hold);
    let mut terminal = Terminal::new(24, 80);
    terminal.start(command(&world, &[]), &[]);
    let View { lines, .. } = terminal.wait_for("progress", |screen| {
        screen
            .lines()
            .last()
            .is_some_and(|line| line.contains("0/1 files"))
    });
    assert!(!lines[0].contains("left"), "{lines:?}");
    world.stand_in.open_gate();
    terminal.finish(&world);
}

/// Files that are not sent do not count in the bytes to come.
#[test]
fn when_only_a_reply_is_missing_the_bytes_done_are_all_bytes() {
    type Prepare<'a> = &'a (dyn Fn(&World) + Sync);
    let folder = "x/".repeat(300);
    let too_long = format!("files/0{}", "中".repeat(84));
    let options = ["-j", "2", "--manifest", "sent.jsonl", "-t", &folder];
    let key = |name| When::Key(format!("{folder}{name}"));
    let unchanged = |world: &World| drop(world.run(options.iter().chain(&["files/1"])));
    let gone = |world: &World| {
        unchanged(world);
        let forget =
            |reply: &mut Value| reply["file_list"][0]["errmsg"] = "STORAGE_FILE_NONEXIST".into();
        world
            .stand_in
            .fault(Step::Link, When::Once, Fault::edit(forget));
    };
    let refused = |world: &World| {
        world.stand_in.fault(
            Step::Upload,
            key(1),
            Fault::cos_error(400, "EntityTooLarge"),
        )
    };
    let badly_named = |world: &World| drop(world.file(&too_long, vec![b'x'; 2 * MIB]));
    let cases: [(&str, Prepare); 4] = [
        ("unchanged", &unchanged),
        ("gone", &gone),
        ("refused", &refused),
        ("a bad name", &badly_named),
    ];
    side_by_side(
        cases.map(|(name, prepare)| (name.to_owned(), prepare)),
        |prepare| {
            let world = world(&[3 * MIB, MIB]);
            prepare(&world);
            world.stand_in.fault(Step::Upload, key(2), Fault::Hold);
            let mut terminal = Terminal::new(60, 80);
            terminal.start(command(&world, &options), &[]);
            terminal.wait_for(
                "all files but one, and as many bytes done as there are",
                |screen| {
                    let lines = screen.lines();
                    let is_but_one = ["1/2 files, ", "2/3 files, "]
                        .iter()
                        .any(|files| lines.last().is_some_and(|line| line.starts_with(files)));
                    is_but_one
                        && progress_bytes(screen)
                            .is_some_and(|(done, total)| done == total && done != "0 B")
                },
            );
            world.stand_in.open_gate();
            terminal.finish(&world);
        },
    );
}

#[test]
fn progress_goes_on_while_links_are_waited_for() {
    let world = world(&[MIB, 2 * MIB]);
    world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
    let mut terminal = Terminal::new(24, 80);
    terminal.start(command(&world, &[]), &[]);
    assert!(world.stand_in.wait_for(Step::Upload, 2, PATIENCE));
    terminal.wait_for("the bytes that went up meanwhile", |screen| {
        progress_bytes(screen).is_some_and(|(done, _)| done == "3.0 MiB")
    });
    terminal.wait_for("no more waiting for COS", |screen| {
        screen.lines().iter().all(|line| !line.contains("COS"))
    });
    world.stand_in.open_gate();
    assert_eq!(terminal.finish(&world).status, Some(0));
}

// ---- Lines above the progress -----------------------------------------------------------------------------

#[test]
fn notes_results_and_errors_appear_whole_and_in_order_above_the_progress_and_nothing_of_it_remains()
{
    let world = world(&[5; 6]);
    std::fs::create_dir(world.path("files/directory")).unwrap();
    world.stand_in.fault(
        Step::Upload,
        key("3"),
        Fault::cos_error(400, "EntityTooLarge"),
    );
    world.stand_in.fault(Step::Upload, key("5"), Fault::Hold);
    let mut terminal = Terminal::new(40, 300);
    terminal.start(command(&world, &[]), &[]);
    let is_error = |line: &str| {
        line.starts_with("error: files/3: 上传文件失败: HTTP 400") && !line.contains("http:")
    };
    terminal.wait_for("a note, four outcomes and the progress", |screen| {
        let lines = screen.lines();
        lines.len() == 6
            && lines[0].starts_with("note: files/directory: skipped: ")
            && lines[1..3] == [url(&world, 1), url(&world, 2)]
            && is_error(&lines[3])
            && lines[4] == url(&world, 4)
            && is_progress(&lines[5])
    });
    world.stand_in.open_gate();
    let seen = terminal.finish(&world);
    assert_eq!(seen.status, Some(1));
    assert!(seen.raw.contains('\u{1b}'), "{}", seen.raw);
    let lines = seen.lines;
    assert_eq!(lines[1..3], [url(&world, 1), url(&world, 2)]);
    assert!(is_error(&lines[3]), "{lines:?}");
    assert_eq!(lines[4..7], [4, 5, 6].map(|name| url(&world, name)));
    assert!(
        lines[7].starts_with("5 uploaded (25 B), 1 skipped, 1 failed in "),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 8, "{lines:?}");
}

/// The lines without blanks: a wide character can leave a blank at the end of a row.
fn dense(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.replace(' ', "")).collect()
}

#[test]
fn a_narrow_window_shows_every_line_whole_and_the_progress_in_one_row() {
    side_by_side(
        [10, 20, 24].map(|columns| (columns.to_string(), columns)),
        |columns| {
            let world = world(&[5; 4]);
            world.stand_in.fault(
                Step::Upload,
                key("2"),
                Fault::cos_error(400, "EntityTooLarge"),
            );
            world.stand_in.fault(Step::Upload, key("3"), Fault::Hold);
            let mut terminal = Terminal::new(200, columns);
            terminal.start(command(&world, &[]), &[]);
            let error = "error:files/2:上传文件失败:HTTP400";
            let is_right =
                |lines: &[String]| lines[0] == url(&world, 1) && lines[1].starts_with(error);
            let View { rows, .. } =
                terminal.wait_for("a result, an error and the progress", |screen| {
                    let lines = dense(&screen.lines());
                    lines.len() == 3 && is_right(&lines) && lines[2].starts_with("2/4,")
                });
            // The progress is drawn again in its own row. If it had wrapped, it would be drawn below.
            let drawn = |screen: &Screen| screen.raw.iter().filter(|&&byte| byte == b'\r').count();
            let before = drawn(&terminal.screen.lock().unwrap());
            terminal.wait_for("more progress, in the same rows", |screen| {
                drawn(screen) > before + 2 && screen.rows() == rows
            });
            world.stand_in.open_gate();
            let seen = terminal.finish(&world);
            assert_eq!(seen.status, Some(1));
            let lines = dense(&seen.lines);
            assert!(is_right(&lines), "{lines:?}");
            assert_eq!(lines[2..4], [url(&world, 3), url(&world, 4)]);
            assert!(
                lines[4].starts_with("3uploaded(15B),1failedin") && lines.len() == 5,
                "{lines:?}"
            );
        },
    );
}

/// The Windows console goes on in the next row when the last column has been written to.
#[test]
fn the_last_column_stays_free_of_progress() {
    // Below 60 columns it is shorter.
    side_by_side(
        [10, 24, 59, 60, 80].map(|columns| (columns.to_string(), columns)),
        |columns| {
            let progress = if columns < 60 { "1/3," } else { "1/3files," };
            let world = world(&[5; 3]);
            world.stand_in.fault(Step::Upload, key("2"), Fault::Hold);
            let mut terminal = Terminal::new(200, columns);
            terminal.start(command(&world, &[]), &[]);
            // The progress is filled up with blanks, and the cursor stays behind the last one.
            terminal.wait_for("the cursor in the last column", |screen| {
                let (_, column) = screen.parser.screen().cursor_position();
                let lines = dense(&screen.lines());
                let is_progress = lines.last().is_some_and(|line| line.starts_with(progress));
                is_progress && column == columns - 1
            });
            world.stand_in.open_gate();
            terminal.finish(&world);
        },
    );
}

#[test]
fn a_flat_window_scrolls_and_ends_with_the_last_results_and_the_summary() {
    side_by_side([1, 2, 3, 4].map(|rows| (rows.to_string(), rows)), |rows| {
        let world = world(&[5; 8]);
        world.stand_in.fault(Step::Upload, key("8"), Fault::Hold);
        let mut terminal = Terminal::new(rows, 200);
        terminal.start(command(&world, &[]), &[]);
        let progress = |screen: &Screen| {
            screen
                .lines()
                .last()
                .is_some_and(|line| line.starts_with("7/8 files, "))
        };
        terminal.wait_for("progress in the last row", progress);
        world.stand_in.open_gate();
        let seen = terminal.finish(&world);
        assert_eq!(seen.status, Some(0));
        // The last row is free for the prompt of the shell.
        let all: Vec<_> = (1..=8).map(|name| url(&world, name)).collect();
        match seen.lines.split_last() {
            Some((summary, results)) => assert!(
                is_summary(summary) && all.ends_with(results),
                "{:?}",
                seen.lines
            ),
            None => assert_eq!(rows, 1),
        }
        assert_eq!(seen.lines.len(), usize::from(rows) - 1, "{:?}", seen.lines);
    });
}

/// This happens in `docker exec -t`, or with `script` that runs without a terminal.
#[test]
fn a_window_of_unknown_size_shows_every_line_whole() {
    let world = world(&[5; 3]);
    world.stand_in.fault(Step::Upload, key("2"), Fault::Hold);
    let mut terminal = Terminal::new(24, 80);
    terminal.master.resize(size(0, 0)).expect("a new size");
    terminal.start(command(&world, &[]), &[]);
    terminal.wait_for("a result and progress", |screen| {
        let lines = screen.lines();
        lines.len() == 2 && lines[0] == url(&world, 1) && is_progress(&lines[1])
    });
    world.stand_in.open_gate();
    let lines = terminal.finish(&world).lines;
    assert_eq!(lines[..3], [1, 2, 3].map(|name| url(&world, name)));
    assert!(is_summary(&lines[3]) && lines.len() == 4, "{lines:?}");
}

// ---- In Chinese -----------------------------------------------------------------------------------

/// A Chinese character takes two columns.
#[test]
fn notes_errors_and_the_summary_are_whole_in_chinese_in_a_window_of_any_width() {
    side_by_side(
        [10, 24, 80, 200].map(|columns| (columns.to_string(), columns)),
        |columns| {
            let world = world(&[5; 4]).and_files(&["files/目录/图"]);
            let refuse = Fault::status(404, &[], "");
            world.stand_in.fault(Step::Upload, key("2"), refuse.clone());
            world.stand_in.fault(Step::Upload, key("3"), refuse);
            let mut terminal = Terminal::new(200, columns);
            let mut command = command(&world, &[]);
            command.env("WX_LANG", "zh");
            terminal.start(command, &[]);
            let seen = terminal.finish(&world);
            assert_eq!(seen.status, Some(1));
            // A wide character that does not fit into its row goes to the next one, and the screen
            // does not tell that this is the same line.
            let seen = dense(&seen.lines).concat();
            let results = [1, 4].map(|name| url(&world, name));
            let expected = [
                "note:files/目录:已跳过：是目录（要上传其中的文件，请加上-r）",
                &results[0],
                "error:files/2:上传文件失败:HTTP404NotFound",
                "error:files/3:上传文件失败:同上",
                &results[1],
                "上传2个（10B），跳过1个，失败2个，用时",
            ]
            .concat();
            assert!(seen.starts_with(&expected), "{seen}\n{expected}");
        },
    );
}

// ---- Resizing -----------------------------------------------------------------------------------

/// Cuts off lines that are too wide, as xterm and the Linux console do.
fn cut(screen: &mut Screen, rows: u16, columns: u16) {
    let size = |n| NonZeroU16::new(n).expect("a size");
    screen
        .parser
        .screen_mut()
        .set_size(size(rows), size(columns));
}

/// Wraps all lines again, as most terminals do today.
fn reflow(screen: &mut Screen, rows: u16, columns: u16) {
    let is_below = usize::from(screen.parser.screen().cursor_position().0) >= screen.rows();
    let contents = screen.lines().join("\r\n") + if is_below { "\r\n" } else { "" };
    let raw = std::mem::take(&mut screen.raw);
    *screen = Screen::new(rows, columns);
    screen.see(contents.as_bytes());
    screen.raw = raw;
}

#[test]
fn result_lines_stay_whole_while_the_window_is_resized() {
    type Adjust = fn(&mut Screen, u16, u16);
    // A result that is cut off is lost. So these windows are always wide enough for a result.
    let cases: [(&str, &[u16], Adjust); 2] = [
        ("cut", &[60, 100, 50, 51, 120, 55], cut),
        ("reflow", &[60, 20, 100, 10, 30, 200], reflow),
    ];
    side_by_side(
        cases.map(|case| (case.0.to_owned(), case)),
        |(_, widths, adjust)| {
            const FILES: usize = 14;
            let world = world(&[5; FILES]);
            world.stand_in.fault(
                Step::Upload,
                When::Always,
                Fault::Delay(Duration::from_millis(60)),
            );
            let mut urls: Vec<_> = (1..=FILES).map(|name| url(&world, name)).collect();
            urls.sort(); // the files are sorted, too
            // If the window became too narrow for the progress, a part of it can be in front of a
            // result.
            let result = |line: &String| line.find("http").map(|start| line[start..].to_owned());
            let results = |lines: &[String]| lines.iter().filter_map(result).collect();
            let mut terminal = Terminal::new(200, 80);
            terminal.start(command(&world, &[]), &[]);
            for (index, columns) in widths.iter().cycle().take(FILES - 2).enumerate() {
                terminal.wait_for("the next result", |screen| {
                    let results: Vec<String> = results(&screen.lines());
                    results.len() > index
                });
                terminal.resize(200, *columns, adjust);
            }
            let seen = terminal.finish(&world);
            assert_eq!(seen.status, Some(0));
            let results: Vec<String> = results(&seen.lines);
            assert_eq!(results, urls, "{:#?}", seen.lines);
            assert!(
                seen.lines.last().is_some_and(|line| is_summary(line)),
                "{:#?}",
                seen.lines
            );
        },
    );
}

// ---- Without progress ------------------------------------------------------------------------

#[test]
fn unwanted_progress_is_not_shown_and_no_escape_sequence_either() {
    // The options, TERM, and whether there is a summary.
    let cases: [(&[&str], &str, bool); 5] = [
        (&[], "dumb", true),
        (&["-q"], "xterm", false),
        (&["--quiet"], "xterm", false),
        (&["-q"], "dumb", false),
        (&["-n"], "xterm", true),
    ];
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(options, term, summary)| {
            let world = world(&[5; 3]);
            world.stand_in.fault(
                Step::Upload,
                When::Always,
                Fault::Delay(Duration::from_millis(300)),
            );
            let mut terminal = Terminal::new(24, 300);
            let mut command = command(&world, options);
            command.env("TERM", term);
            terminal.start(command, &[]);
            let seen = terminal.finish(&world);
            assert_eq!(seen.status, Some(0));
            let plain = seen.raw.replace("\r\n", "\n");
            assert_eq!(
                plain.find(|c: char| c.is_control() && c != '\n' && c != '\t'),
                None,
                "{plain:?}"
            );
            assert!(!plain.contains("left"), "{plain}");
            assert_eq!(plain.lines().count(), 3 + usize::from(summary), "{plain}");
        },
    );
}

#[test]
fn no_escape_sequence_gets_into_a_pipe_on_either_side() {
    for piped in [Piped::Stdout, Piped::Stderr] {
        let world = world(&[5; 3]);
        world.stand_in.fault(Step::Upload, key("2"), Fault::Hold);
        let mut terminal = Terminal::new(24, 300);
        terminal.start(command(&world, &[]), &[piped]);
        match piped {
            // The results are in the pipe, and the progress is on the terminal.
            Piped::Stdout => terminal.wait_for("progress", |screen| {
                screen
                    .lines()
                    .last()
                    .is_some_and(|line| line.starts_with("1/3 files, ") && is_progress(line))
            }),
            Piped::Stderr => {
                terminal.wait_for("a result", |screen| screen.lines() == [url(&world, 1)])
            }
        };
        world.stand_in.open_gate();
        let seen = terminal.finish(&world);
        // The harness checks that the output of a run has no escape sequences.
        let text = seen.piped;
        let urls = [1, 2, 3].map(|name| url(&world, name));
        match piped {
            Piped::Stdout => {
                assert_eq!(text.lines().collect::<Vec<_>>(), urls);
                assert!(
                    seen.lines.len() == 1 && is_summary(&seen.lines[0]),
                    "{:?}",
                    seen.lines
                );
            }
            Piped::Stderr => {
                assert!(
                    text.lines().count() == 1 && is_summary(text.trim_end()),
                    "{text}"
                );
                assert_eq!(seen.lines, urls);
                assert!(!seen.raw.contains('\u{1b}'), "{:?}", seen.raw);
            }
        }
    }
}

#[test]
fn an_error_is_red_unless_colours_are_not_wanted() {
    for (variable, is_coloured) in [
        (("LANG", "C"), true),
        (("NO_COLOR", "1"), false),
        (("TERM", "dumb"), false),
    ] {
        let world = world(&[5]);
        std::fs::create_dir(world.path("busy")).unwrap();
        let mut terminal = Terminal::new(20, 200);
        let mut command = command(&world, &["-q", "--manifest", "busy"]);
        command.env(variable.0, variable.1);
        terminal.start(command, &[]);
        let seen = terminal.finish(&world);
        assert_eq!(seen.status, Some(2));
        assert!(seen.lines[0].starts_with("error: --manifest busy: "));
        let is_red = seen.raw.starts_with("\x1b[31merror:\x1b[0m ");
        assert_eq!(is_red, is_coloured, "{:?}", seen.raw);
    }
}
