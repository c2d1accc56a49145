//! Draws the picture of the README: `cargo run --release --example picture > docs/run.svg`
//!
//! Runs the program twice in its own terminal, against a slow stand-in. Draws the screen that a
//! person would see: first the progress, then the results.
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
use stand_in::{Fault, StandIn, Step, When};

const SIZE: PtySize = PtySize {
    rows: 12,
    cols: 100,
    pixel_width: 0,
    pixel_height: 0,
};
const FILES: [(&str, usize); 4] = [
    ("产品图.png", 4 << 20),
    ("日落.jpg", 3 << 20),
    ("海边 2026.jpg", 5 << 20),
    ("说明书.pdf", 900_000),
];
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

fn draw(lines: &[Line]) -> String {
    let width = 836;
    let height = 20 * lines.len() + 32;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Two runs of wx-upload in a \
         terminal: progress, links, and a second run that uploads nothing again\">\n<style>text{{\
         font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,\"Noto Sans Mono CJK SC\",monospace;\
         fill:#d6deeb}}.c{{fill:#7fdbca}}.s{{fill:#ecc48d}}</style>\n<rect width=\"{width}\" \
         height=\"{height}\" rx=\"8\" fill=\"#011627\"/>\n"
    );
    for (number, Line { text, class }) in lines.iter().enumerate() {
        let y = 20 * number + 34;
        if *class == "rule" {
            let y = y - 5;
            svg += &format!(
                "<line x1=\"0\" x2=\"{width}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#1d3b53\"/>\n"
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
        svg += &format!("<text x=\"18\" y=\"{y}\"{class} xml:space=\"preserve\">{text}</text>\n");
    }
    svg + "</svg>\n"
}
