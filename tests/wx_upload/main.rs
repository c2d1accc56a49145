//! Black-box tests: they run the real binary against a stand-in of the services, and assert what
//! reached the stand-in or what the user saw. Some read only the sources and the documents.

mod accounts;
#[cfg(target_os = "linux")]
mod addresses;
mod ahead;
mod answers;
mod at_once;
#[cfg(unix)]
mod away;
mod both_languages;
mod config;
#[cfg(unix)]
mod documents;
mod doubles;
mod drops;
#[cfg(unix)]
mod editors;
mod elsewhere;
mod exclude;
mod faults;
#[cfg(target_os = "linux")]
mod filesystems;
mod foreign;
#[cfg(unix)]
mod found;
mod harness;
mod hostile;
mod in_chinese;
mod kindnesses;
mod language;
#[cfg(unix)]
mod limits;
#[cfg(target_os = "linux")]
mod lines;
mod links;
mod listing;
#[cfg(unix)]
mod machine;
mod manifest;
#[cfg(target_os = "linux")]
mod moments;
mod never_leaves;
mod options;
mod output;
mod pace;
#[cfg(unix)]
mod passing;
#[cfg(unix)]
mod private;
#[cfg(unix)]
mod recipes;
mod refusals;
mod reports;
#[cfg(unix)]
mod saving;
#[cfg(unix)]
mod secrecy;
mod services;
#[cfg(unix)]
mod shell;
mod soak;
#[cfg(target_os = "linux")]
mod static_binary;
mod stored;
#[cfg(unix)]
mod terminal;
mod tokens;
mod unique;
#[cfg(unix)]
mod unix;
mod upload;
mod urls;
