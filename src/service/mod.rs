//! WeChat's API and COS: what is asked, and what an answer means.

mod access_token;
mod api;
mod cos;
mod links;

pub use access_token::{AccessToken, SharedToken};
pub use api::{Call, call_api, text_field, unusable_field};
pub use cos::{content_type, judged_by_packets, judged_by_signature, post_object, signature_life};
pub use links::link_in;
