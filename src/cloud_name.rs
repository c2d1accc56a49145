//! What the cloud takes: which names and sizes, and what its `file_id`s look like.
//!
//! Looks at no file.

/// 官方文件名命名限制
const MAX_BYTES: usize = 850;
/// A cloud name, encoded or not, and what stands before it.
const MAX_FILE_ID_BYTES: usize = 2 << 10;

pub const TOO_LONG: &str = "the cloud name is longer than 850 bytes";

/// The limit of COS's "POST Object".
pub const MAX_FILE_BYTES: u64 = 5 << 30;
pub const TOO_LARGE: &str = "it is larger than the 5 GiB that COS takes";

/// The rule for names in the cloud (官方文件名命名限制, and no way up) that `key` breaks.
pub fn broken_rule(key: &str) -> Option<&'static str> {
    if key.chars().any(char::is_control) {
        return Some("a cloud name cannot contain control characters");
    }
    if key.starts_with('/') || key.contains("//") {
        return Some("a cloud name cannot begin with `/` or contain `//`");
    }
    if key.split('/').any(|part| part == "." || part == "..") {
        return Some("a cloud name cannot contain `.` or `..` between slashes");
    }
    if key.contains("${filename}") {
        return Some("a cloud name cannot contain `${filename}`: COS would put another name there");
    }
    if is_too_long(key) {
        return Some(TOO_LONG);
    }
    None
}

pub fn is_too_long(key: &str) -> bool {
    key.len() > MAX_BYTES
}

/// What stands before the names of files that go into the cloud folder `folder`: no `/` first, one
/// last, nothing for the root. On Windows a `\` is a `/`.
pub fn prefix(folder: &str) -> String {
    let slashed = if cfg!(windows) {
        folder.replace('\\', "/")
    } else {
        folder.to_owned()
    };
    let mut prefix = slashed.strip_prefix('/').unwrap_or(&slashed).to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}

/// Whether `file_id` is one. It is printed, so it must not be another field of a reply, a secret
/// one; and what a server makes up must not fill the memory.
pub fn is_file_id(file_id: &str) -> bool {
    file_id.starts_with("cloud://") && file_id.len() <= MAX_FILE_ID_BYTES
}
