//! The one HTTP agent, and failures of HTTP and of the network below it in plain words. Nobody outside
//! reaches a socket.

mod agent;
mod connect;
mod failure;
mod look_up;
mod proxy;
mod tcp;

pub use agent::{http_agent, send};
pub use failure::{request_failure, retry_after, status_failure};
pub use proxy::is_proxied;
