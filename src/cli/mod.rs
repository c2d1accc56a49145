//! What the user wants, and what the user sees: the command line, the config's keys, and the terminal.

mod config_file;
mod console;
mod exclude;
mod help;
mod options;
mod progress;
mod settings;

pub use config_file::{
    config_of_environment, find_config, help_for_backslashes, init_config, note_misspelled_keys,
    parse_config, text_in, variable,
};
pub use console::{Console, cannot_print, end_of_output, escape, print, say};
pub use help::show;
pub use options::{Command, Format, LINK_CALLS, MOST_AHEAD, MOST_JOBS, Options, parse_options};
pub use progress::{Progress, Reading};
pub use settings::{Auth, DEFAULT_DIR, Settings, appid};
