//! Draws the picture of the README: `cargo run --release --example picture > docs/run.svg`
//!
//! Runs the program twice in its own terminal, against a slow stand-in. Draws the window that a
//! person would see: first the progress, then the results. The links are like those of the service.
//!
//! It does not know how the program or the services work.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command as Build;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;
use stand_in::{Fault, StandIn, Step, When};

const SIZE: PtySize = PtySize {
    rows: 12,
    cols: 96,
    pixel_width: 0,
    pixel_height: 0,
};
const FILES: [(&str, usize); 4] = [
    ("报价.pdf", 900_000),
    ("日落.jpg", 3 << 20),
    ("海边.jpg", 5 << 20),
    ("首页.png", 4 << 20),
];
/// Where the links of the service lead.
const BUCKET: &str = "https://7072-prod-1g2h3j4k5l-1300000000.tcb.qcloud.la/";
const FIRST: [&str; 7] = [
    "-t",
    "img/",
    "-f",
    "url",
    "--manifest",
    "sent.jsonl",
    "pics",
];
const SECOND: [&str; 7] = [
    "-t",
    "img/",
    "-f",
    "markdown",
    "--manifest",
    "sent.jsonl",
    "pics",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut build = Build::new(cargo);
    build
        .args(["build", "--release", "--bin", "wx-upload"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status()?.success(), "the program cannot be built");
    let target = std::env::current_exe()?;
    let program = target
        .parent()
        .and_then(Path::parent)
        .ok_or("no directory")?
        .join("wx-upload");

    let stand_in = StandIn::https();
    let slow = Fault::Slow {
        chunk: 64 << 10,
        pause: Duration::from_millis(50),
    };
    stand_in.fault(Step::Upload, When::Always, slow);
    stand_in.fault(Step::Link, When::Always, Fault::edit(lead_to_bucket));
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("pics"))?;
    for (name, size) in FILES {
        fs::write(dir.path().join("pics").join(name), vec![7; size])?;
    }
    stand_in.config_json(dir.path());
    stand_in.ca_file(dir.path());

    let (under_way, first) = run(&program, dir.path(), &FIRST)?;
    let (_, second) = run(&program, dir.path(), &SECOND)?;
    let mut lines = vec![
        prompt(&FIRST),
        Line {
            text: under_way,
            class: "s",
        },
        RULE,
        prompt(&FIRST),
    ];
    lines.extend(first);
    lines.push(prompt(&SECOND));
    lines.extend(second);
    print!("{}", draw(&lines));
    Ok(())
}

/// Replaces the links of the stand-in in a reply by links of the service.
fn lead_to_bucket(reply: &mut Value) {
    let files = reply["file_list"].as_array_mut();
    for file in files.into_iter().flatten() {
        let link = file["download_url"].as_str();
        if let Some((_, key)) = link.and_then(|link| link.split_once("/download/")) {
            file["download_url"] = format!("{BUCKET}{key}").into();
        }
    }
}

/// A line of the picture.
struct Line {
    text: String,
    /// `c` for a command, `s` for a line of standard error, `rule` for a horizontal line, else empty.
    class: &'static str,
}

const RULE: Line = Line {
    text: String::new(),
    class: "rule",
};

fn prompt(arguments: &[&str]) -> Line {
    Line {
        text: format!("$ wx-upload {}", arguments.join(" ")),
        class: "c",
    }
}

/// Runs the program in a terminal. Returns the progress line from the middle of the run, and the
/// screen at the end.
fn run(
    program: &Path,
    dir: &Path,
    arguments: &[&str],
) -> Result<(String, Vec<Line>), Box<dyn std::error::Error>> {
    let pty = native_pty_system().openpty(SIZE)?;
    let mut command = CommandBuilder::new(program);
    command.args(arguments);
    command.cwd(dir);
    command.env("SSL_CERT_FILE", "ca.pem");
    command.env("NO_PROXY", "localhost");
    command.env("WX_LANG", "en");
    let mut child = pty.slave.spawn_command(command)?;
    drop(pty.slave);
    let [rows, cols] = [SIZE.rows, SIZE.cols].map(|size| size.try_into().expect("not zero"));
    let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
    let mut output = pty.master.try_clone_reader()?;
    let seen = Arc::clone(&screen);
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            seen.lock()
                .expect("no panic under the lock")
                .process(&buffer[..count]);
        }
    });
    let mut progress = Vec::new();
    while child.try_wait()?.is_none() {
        let contents = screen
            .lock()
            .expect("no panic under the lock")
            .screen()
            .contents();
        let under_way = contents.lines().find(|line| line.contains(" left"));
        progress.extend(under_way.map(|line| line.trim_end().to_owned()));
        thread::sleep(Duration::from_millis(50));
    }
    reader.join().expect("the reader ends");
    let contents = screen
        .lock()
        .expect("no panic under the lock")
        .screen()
        .contents();
    let lines = contents
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let class = if line.contains(" uploaded (") {
                "s"
            } else {
                ""
            };
            Line {
                text: line.trim_end().to_owned(),
                class,
            }
        });
    let halfway = progress.get(progress.len() / 2).cloned();
    Ok((halfway.unwrap_or_default(), lines.collect()))
}

/// The height of the bar at the top of the window.
const BAR: usize = 28;
const LINE_HEIGHT: usize = 19;
/// A README on GitHub shows a picture of this width as it is.
const WIDTH: usize = 790;

fn draw(lines: &[Line]) -> String {
    let height = BAR + LINE_HEIGHT * lines.len() + 22;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Two runs of wx-upload in a \
         terminal: progress and links, and a second run that uploads nothing again\">\n<style>text{{\
         font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,\"Noto Sans Mono CJK SC\",monospace;\
         fill:#d6deeb}}.c{{fill:#7fdbca}}.s{{fill:#ecc48d}}</style>\n<rect width=\"{WIDTH}\" \
         height=\"{height}\" rx=\"8\" fill=\"#011627\"/>\n"
    );
    for (number, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let x = 18 + 18 * number;
        svg += &format!("<circle cx=\"{x}\" cy=\"16\" r=\"5\" fill=\"{colour}\"/>\n");
    }
    for (number, Line { text, class }) in lines.iter().enumerate() {
        let y = BAR + LINE_HEIGHT * number + 20;
        if *class == "rule" {
            let y = y - 5;
            svg += &format!(
                "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#1d3b53\"/>\n"
            );
            continue;
        }
        let class = match *class {
            "" => String::new(),
            class => format!(" class=\"{class}\""),
        };
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        svg += &format!("<text x=\"16\" y=\"{y}\"{class} xml:space=\"preserve\">{text}</text>\n");
    }
    svg + "</svg>\n"
}
