//! What is found in a directory and is not meant for others: hidden files, and those that systems put
//! there. They are uploaded only if the user names them, as all that is uploaded becomes public. (Of the
//! fixed directory, all files are uploaded, as by the script.)
//!
//! Does not know how a directory is walked through.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
#[cfg(target_os = "macos")]
use std::os::macos::fs::MetadataExt;
#[cfg(windows)]
use std::os::windows::fs::MetadataExt;
use std::path::Path;

use crate::words::either;

/// Names that systems put into directories, in any case of letters.
const NAMES_OF_SYSTEMS: [&str; 9] = [
    "@eaDir",    // Synology: thumbnails
    "#recycle",  // Synology
    "#snapshot", // Synology
    "@Recycle",  // QNAP
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found", // file systems of Linux
    "Thumbs.db",
    "desktop.ini",
];

/// Returns why the entry `name` of a directory is not for others. Its `metadata` are unknown where they
/// could not be read.
pub fn why_not_for_others(name: &OsStr, metadata: Option<&Metadata>) -> Option<&'static str> {
    let bytes = name.as_encoded_bytes();
    if bytes.starts_with(b".") || metadata.is_some_and(is_marked_hidden) {
        return Some(either(
            "hidden (give its path to upload it)",
            "是隐藏的（要上传，请写明路径）",
        ));
    }
    let is_name = |of_system: &&str| name.eq_ignore_ascii_case(of_system);
    // Office puts a file like `~$report.docx` beside an open document.
    if NAMES_OF_SYSTEMS.iter().any(is_name) || bytes.starts_with(b"~$") {
        return Some(either(
            "put there by the system (give its path to upload it)",
            "是系统生成的（要上传，请写明路径）",
        ));
    }
    None
}

/// Whether the system itself marks a file as hidden.
fn is_marked_hidden(metadata: &Metadata) -> bool {
    #[cfg(windows)]
    let marks = metadata.file_attributes() & 2; // FILE_ATTRIBUTE_HIDDEN
    #[cfg(target_os = "macos")]
    let marks = metadata.st_flags() & 0x8000; // UF_HIDDEN
    #[cfg(not(any(windows, target_os = "macos")))]
    let (marks, _) = (0, metadata); // only the dot hides
    marks != 0
}

/// All that lies below the directory `root` becomes public. A link may lead to the real path `real`.
/// Returns why the file there must stay private: it lies elsewhere, or something on the way to it is
/// hidden or a system's.
pub fn why_private(root: &Path, real: &Path) -> Option<&'static str> {
    let Ok(below) = real.strip_prefix(root) else {
        return Some(either(
            "a link that leads out of the directory (give its path to upload what it leads to)",
            "指向目录之外的链接（要上传，请写明路径）",
        ));
    };
    let is_private = |part: &Path| {
        let metadata = fs::symlink_metadata(root.join(part)).ok();
        let name = part.file_name().unwrap_or_default();
        why_not_for_others(name, metadata.as_ref()).is_some()
    };
    below.ancestors().any(is_private).then(|| {
        either(
            "a link to what is hidden or the system's (give its path to upload it)",
            "指向隐藏文件或系统文件的链接（要上传，请写明路径）",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_dot_hides_and_systems_have_names_of_their_own() {
        for (name, is_for_others) in [
            (".env", false),
            ("..a", false),
            ("a.b", true),
            ("点.", true),
            ("@eadir", false),
            ("@eaDir2", true),
            ("#Recycle", false),
            ("$Recycle.Bin", false),
            ("THUMBS.DB", false),
            ("~$报告.docx", false),
            ("~a", true),
            ("", true),
        ] {
            let why = why_not_for_others(OsStr::new(name), None);
            assert_eq!(why.is_none(), is_for_others, "{name}");
        }
    }

    #[test]
    fn what_lies_elsewhere_or_is_hidden_on_the_way_is_private() {
        let root = Path::new("/home/me/.site/pictures");
        let is_private = |real: &str| why_private(root, Path::new(real)).is_some();
        for real in [
            "/home/me/.site/pictures/a.png",
            "/home/me/.site/pictures/b/c.d/e",
        ] {
            assert!(!is_private(real), "{real}");
        }
        for real in [
            "/home/me/.site/pictures/.a",
            "/home/me/.site/pictures/.git/config",
            "/home/me/.site/pictures/b/.c/d",
            "/home/me/.site/pictures/@eaDir/a.png/thumb.jpg",
            "/home/me/.site/pictures2/a",
            "/home/me/.site",
            "/etc/passwd",
        ] {
            assert!(is_private(real), "{real}");
        }
    }
}
