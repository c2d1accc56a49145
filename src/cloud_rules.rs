//! The cloud's rules: which names and sizes it takes, and what its `file_id`s look like.
//!
//! Does not look at files.

use percent_encoding::percent_decode_str;

use crate::words::either;

/// A cloud name has at most this length (官方文件名命名限制).
const MAX_BYTES: usize = 850;
/// A `file_id` has some 100 bytes, and then the cloud name. Percent-encoded, that is three times as
/// long.
const MAX_FILE_ID_BYTES: usize = 4 << 10;

/// The limit of COS's "POST Object".
const MAX_FILE_BYTES: u64 = 5 << 30;

/// Returns why COS refuses a file of this size, if it does.
pub fn too_large(bytes: u64) -> Option<&'static str> {
    (bytes > MAX_FILE_BYTES).then(|| {
        either(
            "it is larger than the 5 GiB that COS takes",
            "文件超过 COS 的 5 GiB 上限",
        )
    })
}

/// Returns the rule for cloud names that `key` breaks: 官方文件名命名限制, no `.` or `..` between
/// slashes, and nothing that COS would replace.
pub fn broken_rule(key: &str) -> Option<&'static str> {
    if key.chars().any(char::is_control) {
        return Some(either(
            "a cloud name cannot contain control characters",
            "云端文件名不能含有控制字符",
        ));
    }
    if key.starts_with('/') || key.contains("//") {
        return Some(either(
            "a cloud name cannot contain `//`",
            "云端文件名不能含有 `//`",
        ));
    }
    if key.split('/').any(|part| part == "." || part == "..") {
        return Some(either(
            "a cloud name cannot contain a folder or a file named `.` or `..`",
            "云端文件名的任何一级都不能是 `.` 或 `..`",
        ));
    }
    if key.contains("${filename}") {
        return Some(either(
            "a cloud name cannot contain `${filename}`: COS would put another name there",
            "云端文件名不能含有 `${filename}`：COS 会把它换成别的名字",
        ));
    }
    too_long(key)
}

/// Returns why a cloud name is too long, if it is.
pub fn too_long(key: &str) -> Option<&'static str> {
    (key.len() > MAX_BYTES).then(|| {
        either(
            "the cloud name is longer than 850 bytes",
            "云端文件名超过 850 字节",
        )
    })
}

/// Returns `key` with the CRC-64 of the content before its extension: `img/图 2.tar.gz` becomes
/// `img/图 2.tar-995dc9bbdf1939fa.gz`.
pub fn with_crc64(key: &str, crc64: u64) -> String {
    let (stem, extension) = key.split_at(extension_at(key));
    format!("{stem}-{crc64:016x}{extension}")
}

/// Returns the cloud name from which `with_crc64` may have made `key`.
pub fn without_crc64(key: &str) -> Option<String> {
    let (stem, extension) = key.split_at(extension_at(key));
    let (stem, _crc64) = stem.rsplit_once('-')?;
    Some(format!("{stem}{extension}"))
}

/// Returns where the extension of the last name in `key` begins, with its dot. A dot at the
/// beginning of the name begins none.
fn extension_at(key: &str) -> usize {
    let name_at = key.rfind('/').map_or(0, |slash| slash + 1);
    match key[name_at..].rfind('.') {
        Some(dot) if dot > 0 => name_at + dot,
        _ => key.len(),
    }
}

/// Returns the prefix of the cloud names of files in the cloud folder `folder`: without a first `/`,
/// with a last one, and empty for the root. On Windows a `\` counts as a `/`.
pub fn prefix_of(folder: &str) -> String {
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

/// The parts of a `file_id`, which is `cloud://ENV.BUCKET/KEY`.
pub struct FileId<'a> {
    pub env: &'a str,
    pub key: &'a str,
    /// The part of the key after its last `/`.
    pub name: &'a str,
}

impl FileId<'_> {
    /// Reads a `file_id`. Returns `None` if the text is not one.
    pub fn parse(text: &str) -> Option<FileId<'_>> {
        if !is_file_id(text) {
            return None;
        }
        let (place, key) = text.strip_prefix("cloud://")?.split_once('/')?;
        let (env, _) = place.split_once('.')?;
        let (_, name) = key.rsplit_once('/').unwrap_or(("", key));
        (!name.is_empty()).then_some(FileId { env, key, name })
    }
}

/// Whether a text looks like a `file_id`. A `file_id` is printed, so another field of a reply, which
/// may be secret, must not pass for one. Its length is limited, so that no server fills the memory.
pub fn is_file_id(text: &str) -> bool {
    text.starts_with("cloud://") && text.len() <= MAX_FILE_ID_BYTES
}

/// Whether `file_id` is that of the file with the cloud name `key`: it ends with a `/` and this name,
/// raw or percent-encoded.
pub fn is_file_id_of(file_id: &str, key: &str) -> bool {
    let ends_with_key = |text: &str| {
        let place = text.strip_suffix(key);
        place.is_some_and(|place| place.ends_with('/'))
    };
    let decoded = percent_decode_str(file_id).decode_utf8_lossy();
    is_file_id(file_id) && (ends_with_key(file_id) || ends_with_key(&decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_stands_before_the_extension_and_can_be_taken_out_again() {
        let crc = "995dc9bbdf1939fa";
        let cases = [
            ("1.png", format!("1-{crc}.png")),
            ("img/图 2.tar.gz", format!("img/图 2.tar-{crc}.gz")),
            ("README", format!("README-{crc}")),
            (".env", format!(".env-{crc}")),
            (".a.b", format!(".a-{crc}.b")),
            ("end.", format!("end-{crc}.")),
            ("..c", format!(".-{crc}.c")),
            ("dir.d/none", format!("dir.d/none-{crc}")),
            ("a-995dc9bbdf1939fa.png", format!("a-{crc}-{crc}.png")),
        ];
        for (key, with) in cases {
            assert_eq!(with_crc64(key, 0x995d_c9bb_df19_39fa), with);
            assert_eq!(without_crc64(&with).as_deref(), Some(key));
        }
        assert_eq!(with_crc64("a", 1), "a-0000000000000001");
        assert_eq!(without_crc64("a.png"), None);
    }

    #[test]
    fn names_that_the_cloud_does_not_take_are_refused() {
        let longest = "长".repeat(283) + "x"; // 850 bytes
        for key in [
            "a",
            "a/b.c",
            "...",
            ".a/..b",
            "图 1.jpg",
            "C#%?+.pdf",
            &*longest,
        ] {
            assert_eq!(broken_rule(key), None, "{key}");
        }
        let too_long = longest + "x";
        for key in [
            "/a",
            "a//b",
            ".",
            "..",
            "a/./b",
            "a/..",
            "a\nb",
            "\u{85}",
            "x${filename}",
            &*too_long,
        ] {
            assert!(broken_rule(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_prefix_loses_a_first_slash_and_gets_a_last_one() {
        let cases = [
            ("", ""),
            ("/", ""),
            ("temp3", "temp3/"),
            ("temp3/", "temp3/"),
            ("/a/b", "a/b/"),
            ("//a", "/a/"), // `broken_rule` refuses it
        ];
        for (folder, prefix) in cases {
            assert_eq!(prefix_of(folder), prefix, "{folder}");
        }
    }

    #[test]
    fn a_file_id_has_an_environment_and_a_key() {
        let parts = |text| FileId::parse(text).map(|id| [id.env, id.key, id.name]);
        let text = "cloud://prod-1.7072-x/temp3/a.png";
        assert_eq!(parts(text), Some(["prod-1", "temp3/a.png", "a.png"]));
        assert_eq!(parts("cloud://e.b/a"), Some(["e", "a", "a"]));
        for text in [
            "cloud://e.b",
            "cloud://e.b/",
            "cloud://e.b/a/",
            "cloud://e/a",
            "https://e.b/a",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
        let longest = format!("cloud://e.b/{}", "a".repeat(4096 - 12));
        assert!(is_file_id(&longest) && !is_file_id(&(longest + "a")));
    }

    #[test]
    fn a_file_id_ends_with_the_name_of_its_file() {
        for (file_id, key) in [
            ("cloud://e.b/temp3/图 1.png", "temp3/图 1.png"),
            ("cloud://e.b/temp3/%E5%9B%BE%201.png", "temp3/图 1.png"),
            ("cloud://e.b/temp3%2F%e5%9b%be%201.png", "temp3/图 1.png"),
            ("cloud://e.b/100%.txt", "100%.txt"),
            ("cloud://e.b/100%25.txt", "100%.txt"),
            ("cloud://e.b/100%25.txt", "100%25.txt"),
        ] {
            assert!(is_file_id_of(file_id, key), "{file_id}");
        }
        for (file_id, key) in [
            ("cloud://e.b/temp3/b.png", "temp3/a.png"),
            ("cloud://e.b/other/a.png", "temp3/a.png"),
            ("cloud://e.b/xtemp3/a.png", "temp3/a.png"),
            ("cloud://e.b/temp3/a.png", "temp3/a.png.txt"),
            ("https://e.b/temp3/a.png", "temp3/a.png"),
        ] {
            assert!(!is_file_id_of(file_id, key), "{file_id}");
        }
    }

    #[test]
    fn a_file_may_have_5_gib() {
        assert!(too_large(5 << 30).is_none() && too_large((5 << 30) + 1).is_some());
    }
}
