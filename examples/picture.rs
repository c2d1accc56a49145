//! Draws the pictures of the two READMEs: `cargo run --release --example picture`
//!
//! Runs the program twice in its own terminal, against a slow stand-in. Draws the window that a
//! person would see: first the progress, then the results. The links are like those of the service.
//! With `--check` it only checks that the pictures in `docs` are the same, apart from numbers and units,
//! which differ each time.
//!
//! It does not know how the program or the services work.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
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

/// A language of the READMEs.
struct Language {
    /// As in `WX_LANG`.
    name: &'static str,
    picture: &'static str,
    label: &'static str,
    while_it_runs: &'static str,
    when_it_is_done: &'static str,
    /// The progress has this word once it knows the time left.
    left: &'static str,
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "en",
        picture: "docs/run.svg",
        label: "Two runs of wx-upload in a terminal: progress and links, and a second run that uploads \
                nothing again",
        while_it_runs: "while it runs",
        when_it_is_done: "when it is done",
        left: " left",
    },
    Language {
        name: "zh",
        picture: "docs/run.zh-CN.svg",
        label: "终端中两次运行 wx-upload：上传进度和链接；第二次运行没有重复上传",
        while_it_runs: "运行中",
        when_it_is_done: "运行结束后",
        left: "剩余",
    },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let only_checks = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "--check");
    let program = build()?;
    for language in LANGUAGES {
        let picture = picture(&program, &language)?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(language.picture);
        if !only_checks {
            fs::write(path, picture)?;
        } else if without_numbers(&fs::read_to_string(path)?) != without_numbers(&picture) {
            eprint!("{picture}");
            return Err(format!("{} is not what the program shows", language.picture).into());
        }
    }
    Ok(())
}

/// Returns a picture without what differs each time: numbers, and the units of bytes.
fn without_numbers(picture: &str) -> String {
    let picture = picture.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    picture.replace("KiB", "MiB")
}

/// Builds the program, and returns its path. (The same features as the example's: nothing is built twice.)
fn build() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut build = Build::new(cargo);
    build
        .args([
            "build",
            "--release",
            "--bin",
            "wx-upload",
            "--example",
            "picture",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status()?.success(), "the program cannot be built");
    let target = std::env::current_exe()?;
    let directory = target.parent().and_then(Path::parent);
    Ok(directory.ok_or("no directory")?.join("wx-upload"))
}

/// Runs the program, and draws what it shows in a language.
fn picture(program: &Path, language: &Language) -> Result<String, Box<dyn std::error::Error>> {
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

    let (under_way, first) = run(program, dir.path(), language, &FIRST)?;
    let (_, second) = run(program, dir.path(), language, &SECOND)?;
    let line = |class, text: &str| Line {
        text: text.to_owned(),
        class,
    };
    let mut lines = vec![
        line("caption", language.while_it_runs),
        prompt(&FIRST),
        line("", &under_way),
        line("caption", language.when_it_is_done),
        prompt(&FIRST),
    ];
    lines.extend(first);
    lines.push(prompt(&SECOND));
    lines.extend(second);
    Ok(draw(language.label, &lines))
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
    /// `c` for a command, `caption` for a caption, else empty.
    class: &'static str,
}

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
    language: &Language,
    arguments: &[&str],
) -> Result<(String, Vec<Line>), Box<dyn std::error::Error>> {
    let pty = native_pty_system().openpty(SIZE)?;
    let mut command = CommandBuilder::new(program);
    command.args(arguments);
    command.cwd(dir);
    command.env("SSL_CERT_FILE", "ca.pem");
    command.env("NO_PROXY", "localhost");
    command.env("WX_LANG", language.name);
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
        let under_way = contents.lines().find(|line| line.contains(language.left));
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
        .map(|line| Line {
            text: line.trim_end().to_owned(),
            class: "",
        });
    let halfway = progress.get(progress.len() / 2).cloned();
    Ok((halfway.unwrap_or_default(), lines.collect()))
}

/// The height of the bar at the top of the window.
const BAR: usize = 28;
const LINE_HEIGHT: usize = 19;
/// A README on GitHub shows a picture of this width as it is.
const WIDTH: usize = 790;

fn draw(label: &str, lines: &[Line]) -> String {
    let height = BAR + LINE_HEIGHT * lines.len() + 22;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n<style>text{{font:13px \
         ui-monospace,SFMono-Regular,Menlo,Consolas,\"Noto Sans Mono CJK SC\",monospace;\
         fill:#d6deeb}}.c{{fill:#7fdbca}}.caption{{fill:#8badc1;font-style:italic}}</style>\n<rect width=\"{WIDTH}\" \
         height=\"{height}\" rx=\"8\" fill=\"#011627\"/>\n"
    );
    for (number, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let x = 18 + 18 * number;
        svg += &format!("<circle cx=\"{x}\" cy=\"16\" r=\"5\" fill=\"{colour}\"/>\n");
    }
    for (number, Line { text, class }) in lines.iter().enumerate() {
        let y = BAR + LINE_HEIGHT * number + 20;
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
