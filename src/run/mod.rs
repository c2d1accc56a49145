//! When each file is sent, how many at once, how often something is tried, and how it ended.

mod format;
mod notes;
mod pace;
mod pipeline;
mod report;
mod retry;
mod turns;

pub use notes::{note_new_token, print_notes};
pub use pipeline::{Outcome, run_pipeline, worker_count};
pub use report::{Report, dry_run};
pub use retry::Retries;
pub use turns::Turns;
