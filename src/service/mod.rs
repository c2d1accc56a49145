//! WeChat's API and COS: what is asked, and what an answer means.

mod access_token;
mod api;
mod cos;
mod links;

pub use access_token::{AccessToken, SharedToken};
pub use api::{Call, call_api, text_field, unusable_field};
pub use cos::{Signature, content_type, post_object, with_mtu_hint};
pub use links::link_in;
