//! Black-box tests: each runs the real binary against a stand-in of the services, and asserts what reached the
//! stand-in, or what the user saw.

mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;
mod upload;
