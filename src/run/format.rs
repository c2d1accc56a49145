//! The lines on standard output, in the four formats.
//!
//! Does not print them.

use serde_json::{Map, Value, json};

use crate::cli::{Format, escape};
use crate::files::{ListedFile, Origin, Stored};

/// Returns the line of a file that is in the cloud and has a link.
pub fn linked_line(format: Format, file: &ListedFile, stored: &Stored, url: &str) -> String {
    let Stored {
        key, file_id, size, ..
    } = stored;
    match format {
        Format::Text => columns(&[file.name(), url, file_id]),
        Format::Url => url.to_owned(),
        Format::Markdown => markdown(file.name(), url),
        Format::Json => {
            let size = match stored.origin {
                Origin::Named => Value::Null, // the API does not tell it
                Origin::ThisRun | Origin::OtherFile | Origin::EarlierRun => (*size).into(),
            };
            json_line(
                file,
                key,
                json!({ "size": size, "file_id": file_id, "url": url }),
            )
        }
    }
}

/// Returns the line of a file that failed, which only JSON has. `stored` is known if the upload itself
/// succeeded.
pub fn failed_line(
    format: Format,
    file: &ListedFile,
    error: &str,
    stored: Option<&Stored>,
) -> Option<String> {
    let (key, rest) = match stored {
        Some(stored) => (
            &stored.key,
            json!({ "error": error, "file_id": stored.file_id }),
        ),
        None => (&file.key, json!({ "error": error })),
    };
    match format {
        Format::Json => Some(json_line(file, key, rest)),
        Format::Text | Format::Url | Format::Markdown => None,
    }
}

/// Returns the line of a file that a dry run lists.
pub fn listed_line(format: Format, file: &ListedFile, key: &str) -> String {
    match format {
        Format::Json => json_line(file, key, json!({ "size": file.size })),
        Format::Text | Format::Url | Format::Markdown => columns(&[file.name(), key]),
    }
}

/// Returns columns with tabs between them. A tab in a column is escaped.
fn columns(columns: &[&str]) -> String {
    let escaped: Vec<String> = columns.iter().map(|column| escape(column)).collect();
    escaped.join("\t")
}

fn json_line(file: &ListedFile, key: &str, rest: Value) -> String {
    let mut line = Map::new();
    line.insert("name".into(), file.name().into());
    line.insert("path".into(), file.path.to_string_lossy().into());
    line.insert("key".into(), key.into());
    if let Value::Object(rest) = rest {
        line.extend(rest);
    }
    Value::Object(line).to_string()
}

fn markdown(name: &str, url: &str) -> String {
    let mime = mime_guess::from_path(name).first();
    let is_image = mime.is_some_and(|mime| mime.type_() == "image");
    let mark = if is_image { "!" } else { "" };
    let mut text = String::new();
    for c in name.chars() {
        if r"\[]<>*_`".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    let url = url.replace('(', "%28").replace(')', "%29");
    format!("{mark}[{text}]({url})")
}
