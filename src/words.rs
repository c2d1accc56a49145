//! The language that the user reads: Chinese or English. Both texts of a message stand side by side
//! where the message is made.
//!
//! Knows no message itself, apart from the system's errors.

use std::env;
use std::io::{self, ErrorKind};
use std::sync::OnceLock;

/// Makes a text in the user's language. Takes the English and the Chinese text, both as `format!` does:
/// `words!("{path} is a directory", "{path} 是目录")`.
macro_rules! words {
    ($english:literal, $chinese:literal $(,)?) => {
        if $crate::words::is_chinese() {
            format!($chinese)
        } else {
            format!($english)
        }
    };
}
pub(crate) use words;

/// Returns one of two texts, the one in the user's language.
pub fn either(english: &'static str, chinese: &'static str) -> &'static str {
    if is_chinese() { chinese } else { english }
}

/// Returns the colon between the parts of a message.
pub fn colon() -> &'static str {
    either(": ", "：")
}

/// Whether the user reads Chinese. `WX_LANG` decides. Without it, the locale does.
pub fn is_chinese() -> bool {
    if cfg!(test) {
        return false; // whatever the tester's locale is
    }
    static IS_CHINESE: OnceLock<bool> = OnceLock::new();
    *IS_CHINESE.get_or_init(|| {
        let names = ["WX_LANG", "LC_ALL", "LC_MESSAGES", "LANG"];
        let named = names.iter().find_map(|name| {
            let locale = env::var_os(name)?.to_string_lossy().into_owned();
            (!locale.is_empty()).then_some(locale)
        });
        let locale = named.or_else(system_locale).unwrap_or_default();
        locale.to_ascii_lowercase().starts_with("zh")
    })
}

/// Returns the locale that the user has set in the system. Unix has only variables; the terminal of
/// macOS sets them, too.
fn system_locale() -> Option<String> {
    #[cfg(windows)]
    return sys_locale::get_locale();
    #[cfg(not(windows))]
    None
}

/// Returns the words of an error of the system. In English they are the system's own. An error that
/// the program made itself has its words already.
pub fn io_words(error: &io::Error) -> String {
    let is_own = error.get_ref().is_some();
    if is_own || !is_chinese() {
        return error.to_string();
    }
    let words = match error.kind() {
        ErrorKind::NotFound => "没有这个文件或目录",
        ErrorKind::PermissionDenied => "没有权限",
        ErrorKind::AlreadyExists => "已存在",
        ErrorKind::NotADirectory => "不是目录",
        ErrorKind::IsADirectory => "是目录",
        ErrorKind::ReadOnlyFilesystem => "文件系统是只读的",
        ErrorKind::StorageFull => "磁盘已满",
        ErrorKind::QuotaExceeded => "磁盘配额已用完",
        ErrorKind::FileTooLarge => "文件太大",
        ErrorKind::InvalidFilename => "文件名无效",
        ErrorKind::ResourceBusy => "正被占用",
        ErrorKind::WouldBlock => "暂时不可用",
        ErrorKind::BrokenPipe => "管道另一端已关闭",
        ErrorKind::OutOfMemory => "内存不足",
        ErrorKind::ConnectionRefused => "连接被拒绝",
        ErrorKind::ConnectionReset => "连接被对方重置",
        ErrorKind::ConnectionAborted => "连接中断",
        ErrorKind::HostUnreachable => "无法到达该主机",
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => "网络不通",
        ErrorKind::AddrNotAvailable => "地址不可用",
        ErrorKind::TimedOut => "超时",
        _ => "系统错误",
    };
    match error.raw_os_error() {
        Some(code) => format!("{words}（os error {code}）"),
        None => words.to_owned(),
    }
}

/// Joins words like `a, b and c`.
pub fn listed(words: &[&str]) -> String {
    match words {
        [all_but_last @ .., last] if !all_but_last.is_empty() => {
            let first = all_but_last.join(either(", ", "、"));
            words!("{first} and {last}", "{first} 和 {last}")
        }
        _ => words.concat(),
    }
}

/// Writes a number of bytes like `1.2 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            let count = bytes as f64 / f64::from(1 << shift);
            return format!("{count:.1} {unit}");
        }
    }
    format!("{bytes} B")
}

/// Writes a number of seconds like `5 s`, `3 min 5 s` or `2 h 3 min`.
pub fn human_time(seconds: u64) -> String {
    let (h, min, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match seconds {
        0..60 => words!("{s} s", "{s} 秒"),
        60..3600 => words!("{min} min {s} s", "{min} 分 {s} 秒"),
        _ => words!("{h} h {min} min", "{h} 小时 {min} 分"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_units_that_people_read() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 18, "1.2 MiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(human_bytes(bytes), shown);
        }
    }

    #[test]
    fn seconds_are_written_as_people_say_them() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (185, "3 min 5 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (7_384, "2 h 3 min"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(human_time(seconds), shown);
        }
    }
}
