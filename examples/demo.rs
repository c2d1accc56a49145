//! Shows the whole program at work, without a WeChat account:
//! `cargo run --release --example demo`
//!
//! Starts a stand-in for the WeChat CloudRun API and Tencent COS on this machine. Makes a directory
//! with small pictures, documents and a `config.json`. Runs the real `wx-upload` there, downloads
//! the uploaded files from their links, and compares them.
//!
//! The demo does not know how the program or the services work.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use serde_json::{Value, json};
use stand_in::{SECRET, StandIn, Step};

/// The directory that the program uploads by default, as the script did.
const FIXED_DIR: &str = "154190339_附件";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error}.");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), Error> {
    let program = build()?;
    let stand_in = StandIn::https();
    let temporary = tempfile::tempdir()?;
    let dir = temporary.path();
    prepare(dir, &stand_in)?;

    section("Before the first run");
    show_files(dir, &stand_in);

    section("The first run: name, link and file_id of each file");
    let output = run(&program, dir, &[])?;

    section("The links are fetched and compared with the files");
    compare(&stand_in, &output)?;
    show_requests(&stand_in);
    let tokens = stand_in.count(Step::Token);

    section("config.json after the first run: the token is saved");
    println!("{}", masked_config(dir)?);

    section("The second run: no new token, links as Markdown");
    run(&program, dir, &["--format", "markdown"])?;
    if stand_in.count(Step::Token) != tokens {
        return Err("the second run asked for a new token".into());
    }
    if let Some(complaint) = stand_in.complaints().first() {
        return Err(format!("the services would refuse this: {complaint}").into());
    }

    section("All well");
    let files = SAMPLES.len();
    println!(
        "All {files} files were uploaded, and every byte is the same. The second run used the"
    );
    println!(
        "token of the first. Nothing was sent to other machines. The directory is deleted now."
    );
    Ok(())
}

/// Writes the files, the config and the certificate to trust into `dir`.
fn prepare(dir: &Path, stand_in: &StandIn) -> Result<(), Error> {
    fs::create_dir(dir.join(FIXED_DIR))?;
    for sample in SAMPLES {
        fs::write(dir.join(FIXED_DIR).join(sample.name), sample.bytes)?;
    }
    // As `--init` writes it: this disturbs no other program of the account.
    stand_in.config_json_with(dir, json!({ "auth": "stable_token" }));
    stand_in.ca_file(dir);
    Ok(())
}

fn show_files(dir: &Path, stand_in: &StandIn) {
    let base = stand_in.base();
    println!("The stand-in for the WeChat API and COS: {base}");
    println!("The files in {}:", dir.display());
    println!("    config.json");
    for Sample { name, bytes, .. } in SAMPLES {
        println!("    {FIXED_DIR}/{name}  ({} bytes)", bytes.len());
    }
}

fn show_requests(stand_in: &StandIn) {
    let [tokens, infos, uploads, links] =
        [Step::Token, Step::Info, Step::Upload, Step::Link].map(|step| stand_in.count(step));
    let connections = stand_in.connections();
    println!("\nRequests: {tokens} for a token, {infos} for upload URLs, {uploads} uploads,");
    println!("{links} for links. They came on {connections} connections.");
}

fn section(title: &str) {
    println!("\n== {title} ==\n");
}

/// Builds the program, in the profile of the demo, and returns its path. Cargo does not build it for
/// an example. (The demo is named so that the crates have the features that they have for the demo.
/// Then no crate is built twice.)
fn build() -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--bin",
        "wx-upload",
        "--example",
        "demo",
        "--message-format",
        "json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    // Cargo sets these variables for the demo. ring's build script would see them as a change, and
    // cargo would build ring again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let messages = String::from_utf8(command.output()?.stdout)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.filter(|message| message["target"]["name"] == "wx-upload");
    let mut executables =
        program.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables
        .next()
        .ok_or_else(|| "wx-upload cannot be built".into())
}

/// Prints the command, runs it in `dir`, prints its output, and returns its standard output.
fn run(program: &Path, dir: &Path, arguments: &[&str]) -> Result<String, Error> {
    let trust = "ca.pem"; // the authority of the stand-in
    let mut words = vec![
        format!("SSL_CERT_FILE={trust}"),
        format!("'{}'", program.display()),
    ];
    words.extend(arguments.iter().map(ToString::to_string));
    println!("$ cd '{}'\n$ {}", dir.display(), words.join(" "));

    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir);
    // No account, API or proxy of the user: all stays on this machine.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_lowercase();
        if text.starts_with("wx_") && text != "wx_lang" || text.ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    let output = command.env("SSL_CERT_FILE", trust).output()?;
    let stdout = String::from_utf8(output.stdout)?;
    print!("{stdout}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(stdout)
    } else {
        Err(format!("wx-upload: {}", output.status).into())
    }
}

/// Fetches each link that the program printed, and compares the bytes with those of the file.
fn compare(stand_in: &StandIn, output: &str) -> Result<(), Error> {
    let agent = stand_in.agent();
    let links: Vec<_> = output
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    if links.len() != SAMPLES.len() {
        return Err(format!("{} links for {} files", links.len(), SAMPLES.len()).into());
    }
    for (name, rest) in links {
        let url = rest.split('\t').next().unwrap_or_default();
        let sample = SAMPLES.iter().find(|sample| sample.name == name);
        let sample = sample.ok_or_else(|| format!("a link for an unknown file: {name}"))?;
        let mut reply = agent.get(url).call()?;
        let bytes = reply.body_mut().read_to_vec()?;
        let content_type = reply
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no type");
        if bytes != sample.bytes {
            return Err(format!("{name}: the bytes in the cloud differ from the file").into());
        }
        if content_type != sample.content_type {
            return Err(format!(
                "{name}: stored as {content_type}, not {}",
                sample.content_type
            )
            .into());
        }
        println!(
            "the same {:>3} bytes, {content_type:<25} {name}",
            bytes.len()
        );
    }
    Ok(())
}

/// Returns the text of the config. Stars stand in place of the AppSecret and the access token.
fn masked_config(dir: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(dir.join("config.json"))?;
    let config: Value = serde_json::from_str(&text)?;
    let token = config["access_token"]
        .as_str()
        .ok_or("config.json holds no token")?;
    Ok(text
        .trim_end()
        .replace(token, "********")
        .replace(SECRET, "********"))
}

// ---- Small pictures and documents ---------------------------------------------------------------

struct Sample {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const SAMPLES: [Sample; 6] = [
    Sample {
        name: "日落 (1).png",
        content_type: "image/png",
        bytes: PNG,
    },
    Sample {
        name: "blue square.bmp",
        content_type: "image/bmp",
        bytes: BMP,
    },
    Sample {
        name: "🌞 sun.svg",
        content_type: "image/svg+xml",
        bytes: SVG.as_bytes(),
    },
    Sample {
        name: "说明书.pdf",
        content_type: "application/pdf",
        bytes: PDF,
    },
    Sample {
        name: "价格 & 数量.csv",
        content_type: "text/csv; charset=utf-8",
        bytes: CSV.as_bytes(),
    },
    Sample {
        name: "读我 100%.txt",
        content_type: "text/plain; charset=utf-8",
        bytes: "你好，世界！\n".as_bytes(),
    },
];

const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><circle cx='4.5' cy='4.5' r='4' fill='gold'/></svg>\n";
/// Begins with the byte-order mark that Excel needs.
const CSV: &str = "\u{feff}名称,数量\r\n苹果,3\r\n\"梨, 大\",5\r\n";

/// A sunset over the sea, 24 by 16 pixels in four colours.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x18\0\0\0\x10\x02\x03\0\0\0qJW\x06\
    \0\0\0\x0cPLTE\\4\x80\xd6`H\xff\xd6n\":n?\xde\x13?\
    \0\0\0 IDATx^c` \x0cB\xc1\0HE-\x05SY+\xc1\xd4\xaaU\x18\xd4\x7f0\xc0G\x01\x001\xea,\x93\xce]y\xb2\
    \0\0\0\0IEND\xaeB`\x82";

/// A blue square, 2 by 2 pixels of 24 bits.
const BMP: &[u8] = b"BMF\0\0\0\0\0\0\x006\0\0\0\
    (\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0\0\0\0\0\x10\0\0\0\x13\x0b\0\0\x13\x0b\0\0\0\0\0\0\0\0\0\0\
    \xdcd\x1e\xdcd\x1e\0\0\xdcd\x1e\xdcd\x1e\0\0";

/// A page with one line of text.
const PDF: &[u8] = b"%PDF-1.4
1 0 obj
<</Type/Catalog/Pages 2 0 R>>
endobj
2 0 obj
<</Type/Pages/Kids[3 0 R]/Count 1>>
endobj
3 0 obj
<</Type/Page/Parent 2 0 R/MediaBox[0 0 320 99]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>
endobj
4 0 obj
<</Length 49>>
stream
BT /F 24 Tf 20 40 Td (Hello from wx-upload) Tj ET
endstream
endobj
5 0 obj
<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>
endobj
xref
0 6
0000000000 65535 f\x20
0000000009 00000 n\x20
0000000054 00000 n\x20
0000000105 00000 n\x20
0000000215 00000 n\x20
0000000312 00000 n\x20
trailer
<</Size 6/Root 1 0 R>>
startxref
375
%%EOF
";
