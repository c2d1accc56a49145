//! What the user wants, and what the user sees: the command line, the config's keys, and the terminal.

mod config;
mod console;
mod exclude;
mod help;
mod options;

pub use config::{
    config_of_environment, find_config, help_for_backslashes, init_config, note_misspelled_keys,
    parse_config,
};
pub use console::{
    Console, Reading, cannot_print, end_of_output, escape, human_bytes, human_time, print, say,
};
pub use help::show;
pub use options::{
    Auth, Command, DEFAULT_DIR, Format, LINK_CALLS, MOST_AHEAD, MOST_JOBS, Options, Settings,
    appid, parse_options, text_in, variable,
};
