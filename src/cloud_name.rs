//! Names in the cloud: what they may look like.

/// 官方文件名命名限制
const MAX_BYTES: usize = 850;

/// The rule for names in the cloud (官方文件名命名限制, and no way up) that `key` breaks.
pub fn broken_rule(key: &str) -> Option<&'static str> {
    if key.chars().any(char::is_control) {
        return Some("a cloud name can't have control characters");
    }
    if key.starts_with('/') || key.contains("//") {
        return Some("a cloud name can't begin with `/` or have `//` in it");
    }
    if key.split('/').any(|part| part == "." || part == "..") {
        return Some("a cloud name can't have `.` or `..` between slashes");
    }
    if key.contains("${filename}") {
        return Some(
            "a cloud name can't have `${filename}` in it: COS would put another name there",
        );
    }
    if key.len() > MAX_BYTES {
        return Some("the cloud name is longer than 850 bytes");
    }
    None
}

/// What stands before the names of files that go into the cloud folder `folder`: no `/` first, one
/// last, nothing for the root. On Windows a `\` is a `/`.
pub fn prefix(folder: &str) -> String {
    let slashed = match cfg!(windows) {
        true => folder.replace('\\', "/"),
        false => folder.to_owned(),
    };
    let mut prefix = slashed.strip_prefix('/').unwrap_or(&slashed).to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}
