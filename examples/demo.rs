//! The whole program at work, without a WeChat account: `cargo run --release --example demo`
//!
//! Starts a stand-in of the WeChat CloudRun API and of Tencent COS on this machine, makes a
//! directory with little pictures and documents and a `config.json`, runs the real `wx-upload`
//! there, and fetches what it uploaded.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use serde_json::Value;
use stand_in::{SECRET, StandIn, Step};

/// What the program uploads when it is told nothing else, as the script did.
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
    let samples = samples();
    prepare(dir, &stand_in, &samples)?;

    section("What there is");
    show_what_there_is(dir, &stand_in, &samples);

    section("The first run: name, link and file_id of each file");
    let output = run(&program, dir, &[])?;

    section("What the links lead to");
    compare(&stand_in, &samples, &output)?;
    show_requests(&stand_in);
    let tokens = stand_in.count(Step::Token);

    section("config.json, which now holds the token");
    println!("{}", masked_config(dir)?);

    section("A second run, which needs no new token: the links as Markdown");
    run(&program, dir, &["--format", "markdown"])?;
    if stand_in.count(Step::Token) != tokens {
        return Err("the second run asked for a new token".into());
    }
    if let Some(complaint) = stand_in.complaints().first() {
        return Err(format!("the services would have minded this: {complaint}").into());
    }

    section("All well");
    let files = samples.len();
    println!("{files} files are in the cloud, and every byte is the same. The second run used");
    println!("the token of the first. Nothing left this machine, and the directory is gone now.");
    Ok(())
}

/// Makes in `dir` what a user has there, and the certificate to trust.
fn prepare(dir: &Path, stand_in: &StandIn, samples: &[Sample]) -> Result<(), Error> {
    fs::create_dir(dir.join(FIXED_DIR))?;
    for sample in samples {
        fs::write(dir.join(FIXED_DIR).join(sample.name), &sample.bytes)?;
    }
    stand_in.config_json(dir);
    stand_in.ca_file(dir);
    Ok(())
}

fn show_what_there_is(dir: &Path, stand_in: &StandIn, samples: &[Sample]) {
    let base = stand_in.base();
    println!("In place of the WeChat API and of COS: a stand-in, at {base}");
    println!("In {}:", dir.display());
    println!("    config.json");
    for Sample { name, bytes, .. } in samples {
        println!("    {FIXED_DIR}/{name}  ({} bytes)", bytes.len());
    }
}

fn show_requests(stand_in: &StandIn) {
    let [tokens, infos, uploads, links] =
        [Step::Token, Step::Info, Step::Upload, Step::Link].map(|step| stand_in.count(step));
    let connections = stand_in.connections();
    println!("\nRequests: {tokens} for a token, {infos} for where to upload,");
    println!("{uploads} uploads, {links} for the links, on {connections} connections.");
}

fn section(title: &str) {
    println!("\n== {title} ==\n");
}

/// Builds the program as a user would, and returns where it is. For an example, cargo does not
/// build it by itself.
fn build() -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--release",
        "--bin",
        "wx-upload",
        "--message-format",
        "json-render-diagnostics",
    ]);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    // ring's build script would take what cargo says to the demo for a change, and be built again.
    let says = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(says)) {
        command.env_remove(name);
    }
    let messages = String::from_utf8(command.output()?.stdout)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables
        .next()
        .ok_or_else(|| "wx-upload cannot be built".into())
}

/// Shows the command, runs it in `dir`, shows what it says, and returns its standard output.
fn run(program: &Path, dir: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut variables = vec![("SSL_CERT_FILE", "ca.pem")]; // trust the authority of the stand-in
    if ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| env::var_os(name).is_some())
    {
        variables.push(("NO_PROXY", "localhost"));
    }
    let mut words: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    words.push(format!("'{}'", program.display()));
    words.extend(arguments.iter().map(ToString::to_string));
    println!("$ cd '{}'\n$ {}", dir.display(), words.join(" "));

    let output = Command::new(program)
        .args(arguments)
        .envs(variables)
        .current_dir(dir)
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    print!("{stdout}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(stdout)
    } else {
        Err(format!("wx-upload: {}", output.status).into())
    }
}

/// Fetches each link that the program printed, and compares what comes with the file.
fn compare(stand_in: &StandIn, samples: &[Sample], output: &str) -> Result<(), Error> {
    let agent = stand_in.agent();
    let links: Vec<_> = output
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    if links.len() != samples.len() {
        return Err(format!("{} links for {} files", links.len(), samples.len()).into());
    }
    for (name, rest) in links {
        let url = rest.split('\t').next().unwrap_or_default();
        let sample = samples.iter().find(|sample| sample.name == name);
        let sample = sample.ok_or_else(|| format!("a link for {name}, which was not there"))?;
        let mut reply = agent.get(url).call()?;
        let bytes = reply.body_mut().read_to_vec()?;
        let content_type = reply
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no type");
        if bytes != sample.bytes {
            return Err(format!("{name}: the bytes in the cloud are not those of the file").into());
        }
        if content_type != sample.content_type {
            return Err(format!(
                "{name}: stored as {content_type}, not {}",
                sample.content_type
            )
            .into());
        }
        println!(
            "the same {:>5} bytes, {content_type:<25} {name}",
            bytes.len()
        );
    }
    Ok(())
}

/// The config as it is now, without what nobody should see.
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

// ---- Little pictures and documents --------------------------------------------------------------

struct Sample {
    name: &'static str,
    content_type: &'static str,
    bytes: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><circle cx='4.5' cy='4.5' r='4' fill='gold'/></svg>\n";
    let csv = "\u{feff}名称,数量\r\n苹果,3\r\n\"梨, 大\",5\r\n"; // with the byte-order mark that Excel wants
    let sample = |name, content_type, bytes| Sample {
        name,
        content_type,
        bytes,
    };
    vec![
        sample("日落 (1).png", "image/png", png(48, 32, sunset)),
        sample(
            "blue square.bmp",
            "image/bmp",
            bmp(16, 16, |_, _| [30, 100, 220]),
        ),
        sample("🌞 sun.svg", "image/svg+xml", svg.into()),
        sample("说明书.pdf", "application/pdf", pdf("Hello from wx-upload")),
        sample("价格 & 数量.csv", "text/csv; charset=utf-8", csv.into()),
        sample(
            "读我 100%.txt",
            "text/plain; charset=utf-8",
            "你好，世界！\n".into(),
        ),
    ]
}

/// A picture: the red, green and blue of the pixel at `x`, `y`.
type Picture = fn(x: u32, y: u32) -> [u8; 3];

fn sunset(x: u32, y: u32) -> [u8; 3] {
    let is_sun = x.abs_diff(24).pow(2) + y.abs_diff(22).pow(2) < 60;
    if is_sun {
        [255, 220, 120]
    } else {
        [200 + y as u8, 60 + 4 * y as u8, 140 - 3 * y as u8]
    }
}

/// A PNG whose zlib stream holds the pixels uncompressed, in a single block of at most 64 KiB.
fn png(width: u32, height: u32, picture: Picture) -> Vec<u8> {
    const NO_FILTER: u8 = 0;
    let row = |y| std::iter::once(NO_FILTER).chain((0..width).flat_map(move |x| picture(x, y)));
    let pixels: Vec<u8> = (0..height).flat_map(row).collect();
    let length = u16::try_from(pixels.len()).expect("a picture that fits into one block");
    let (mut a, mut b) = (1, 0);
    for &byte in &pixels {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    let adler32 = (b << 16 | a).to_be_bytes();
    let zlib = [
        &[0x78, 0x01, 1],
        &length.to_le_bytes()[..],
        &(!length).to_le_bytes(),
        &pixels,
        &adler32,
    ]
    .concat();
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat(); // 8 bits, RGB
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&[kind, body].concat());
        [
            &(body.len() as u32).to_be_bytes()[..],
            kind,
            body,
            &crc.to_be_bytes(),
        ]
        .concat()
    };
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &zlib),
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// A BMP of 24 bits a pixel; `width` is a multiple of 4, so that its rows need no padding.
fn bmp(width: u32, height: u32, picture: Picture) -> Vec<u8> {
    const HEADERS: u32 = 54;
    let rows_from_below = (0..height).rev();
    let bgr = |[red, green, blue]: [u8; 3]| [blue, green, red];
    let pixels: Vec<u8> = rows_from_below
        .flat_map(|y| (0..width).flat_map(move |x| bgr(picture(x, y))))
        .collect();
    let size = pixels.len() as u32;
    let file_header = [HEADERS + size, 0, HEADERS];
    let picture_header = [40, width, height, 24 << 16 | 1, 0, size, 2835, 2835, 0, 0];
    let numbers = file_header
        .into_iter()
        .chain(picture_header)
        .flat_map(u32::to_le_bytes);
    b"BM".iter().copied().chain(numbers).chain(pixels).collect()
}

/// A PDF of one small page with one line of text.
fn pdf(text: &str) -> Vec<u8> {
    let drawing = format!("BT /F 24 Tf 20 40 Td ({text}) Tj ET");
    let objects: [String; 5] = [
        "<</Type /Catalog /Pages 2 0 R>>".into(),
        "<</Type /Pages /Kids [3 0 R] /Count 1>>".into(),
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 320 99] /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>>".into(),
        format!("<</Length {}>>\nstream\n{drawing}\nendstream", drawing.len()),
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>".into(),
    ];
    let mut pdf = "%PDF-1.4\n".to_owned();
    let mut offsets = "0000000000 65535 f \n".to_owned();
    for (index, object) in objects.iter().enumerate() {
        offsets += &format!("{:010} 00000 n \n", pdf.len());
        pdf += &format!("{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let (count, start) = (objects.len() + 1, pdf.len());
    pdf += &format!(
        "xref\n0 {count}\n{offsets}trailer\n<</Size {count} /Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"
    );
    pdf.into()
}
