//! WeChat's API and COS: what is asked, and what an answer means.

mod access_token;
mod api;
mod cos;
mod links;

pub use access_token::{AccessToken, SharedToken, unix_seconds};
pub use api::{Call, call_api, text_field};
pub use cos::{content_type, post_object};
pub use links::link_in;
