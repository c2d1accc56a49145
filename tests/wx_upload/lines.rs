//! Slow lines: a large request gives a reply more time, and the progress tells what the system took.

use std::process::Command;

use stand_in::{Fault, Step, When};

use crate::harness::{World, assert_takes};
use crate::terminal::Terminal;
use crate::unix::OtherSystem;

/// A world over http or https, with `count` files of this size.
fn world_with(is_https: bool, count: usize, size: usize) -> World {
    let world = if is_https {
        World::https()
    } else {
        World::http()
    };
    for n in 0..count {
        world.file(format!("files/{n:03}"), vec![n as u8; size]);
    }
    world
}

/// The program's system, with slow lines.
struct SlowLines(OtherSystem);

impl SlowLines {
    /// Lines that carry this number of bytes a second. There are none for a static binary.
    fn with_rate(bytes_per_second: u32) -> Option<SlowLines> {
        OtherSystem::with_lines(bytes_per_second).map(SlowLines)
    }

    fn command(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = world.command(arguments.iter().chain(&["files"]));
        self.0.show_to(&mut command);
        command.env("TERM", "xterm-256color");
        command
    }
}

// ---- Slow and silent ----------------------------------------------------------------------------

#[test]
fn after_a_large_request_a_reply_may_take_up_to_twice_the_timeout() {
    let Some(lines) = SlowLines::with_rate(20_000) else {
        return;
    };
    let arguments = ["--retries", "0", "--timeout", "2"];
    // The reply comes after 3 s. For 60 kB, the limit is 3.8 s.
    let world = world_with(false, 1, 60_000);
    world
        .finish(lines.command(&world, &arguments))
        .assert_success();
    assert_takes([3.7..5.5], || {
        let world = world_with(false, 1, 60_000);
        // Silence on a connection that was used before is repeated.
        let cos = world.stand_in.base().replace("127.0.0.1", "localhost");
        world.stand_in.set_upload_origin(&cos);
        let silence = Fault::Silence;
        world.stand_in.fault(Step::Upload, When::Always, silence);
        let ran = world.finish(lines.command(&world, &arguments));
        ran.assert_failure(1, &["silent for 2 s (--timeout)"]);
        [ran.elapsed.as_secs_f64()]
    });
}

// ---- Progress -----------------------------------------------------------------------------------

/// The bytes in a text such as `1.5 MiB`.
fn bytes_in(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * f64::from(1 << shift))
}

/// The bytes that the progress shows: those that are sent, and all.
fn bytes_shown(lines: &[String]) -> Option<(f64, f64)> {
    let counts = lines.last()?.split(", ").nth(1)?;
    let (sent, all) = counts.split_once('/')?;
    Some((bytes_in(sent)?, bytes_in(all)?))
}

/// The rate in bytes per second, and the seconds left, that the progress shows.
fn pace_shown(lines: &[String]) -> Option<(f64, f64)> {
    let mut parts = lines.last()?.split(", ").skip(2);
    let rate = bytes_in(parts.next()?.strip_suffix("/s")?)?;
    let left = parts.next()?.strip_suffix(" s left")?.parse().ok()?;
    Some((rate, left))
}

#[test]
fn when_everything_is_handed_over_progress_waits_for_cos() {
    let Some(lines) = SlowLines::with_rate(100_000) else {
        return;
    };
    let cases = [
        (
            "en",
            "0/2 files, 400.0 KiB/400.0 KiB, waits for COS to confirm",
        ),
        ("zh", "0/2 个文件，400.0 KiB/400.0 KiB，等待 COS 确认"),
    ];
    for (language, line) in cases {
        let world = world_with(true, 2, 200 << 10);
        let hold = Fault::Hold;
        world.stand_in.fault(Step::Upload, When::Always, hold);
        let mut command = lines.command(&world, &[]);
        command.env("WX_LANG", language);
        let mut terminal = Terminal::new(24, 100);
        terminal.start(command, &[]);
        terminal.wait_for(line, |screen| screen.lines() == [line]);
        world.stand_in.open_gate();
        let seen = terminal.finish(&world);
        assert_eq!(seen.status, Some(0));
        for words in [" 0 s left", "剩余 0 秒"] {
            assert!(!seen.raw.contains(words), "{}", seen.raw);
        }
    }
}

#[test]
fn the_time_left_is_plain() {
    let Some(lines) = SlowLines::with_rate(6_000) else {
        return;
    };
    let cases = [
        ("en", "/s, 1 min ", " s left"),
        ("zh", "/s，剩余 1 分 ", " 秒"),
    ];
    for (language, begin, end) in cases {
        let world = world_with(true, 1, 500_000);
        let mut command = lines.command(&world, &[]);
        command.env("WX_LANG", language);
        let mut terminal = Terminal::new(24, 100);
        terminal.start(command, &[]);
        terminal.wait_for("the time left", |screen| {
            let lines = screen.lines();
            let line = lines.last().map_or("", String::as_str);
            line.contains(begin) && line.ends_with(end)
        });
    }
}

#[test]
fn the_time_left_is_that_of_the_bytes_that_are_left() {
    let Some(lines) = SlowLines::with_rate(60_000) else {
        return;
    };
    let world = world_with(true, 1, 600_000);
    let mut terminal = Terminal::new(24, 100);
    terminal.start(lines.command(&world, &[]), &[]);
    terminal.wait_for("a time left that fits", |screen| {
        let lines = screen.lines();
        let (Some((sent, all)), Some((rate, left))) = (bytes_shown(&lines), pace_shown(&lines))
        else {
            return false;
        };
        sent > all / 3.0 && (left - (all - sent) / rate).abs() < 1.5
    });
}
