//! Plays the services, without TLS, until it is killed:
//! `cargo run -p stand-in --example serve -- DIR API COS MILLISECONDS`
//!
//! Prints its own address, such as `http://127.0.0.1:40123`, and writes a `config.json` into DIR. API
//! and COS are the addresses that clients use: a server that speaks TLS stands there, and passes all
//! requests on. Each upload is answered MILLISECONDS late.

#![forbid(unsafe_code)]

use std::env::args;
use std::path::Path;
use std::thread;
use std::time::Duration;

use stand_in::{Fault, StandIn, Step, When};

fn main() {
    let arguments: Vec<_> = args().skip(1).collect();
    let [dir, api, cos, milliseconds] = &arguments[..] else {
        panic!("DIR API COS MILLISECONDS");
    };
    let delay = Duration::from_millis(milliseconds.parse().expect("a number of milliseconds"));
    let stand_in = StandIn::http();
    let own_address = stand_in.base();
    stand_in.set_base(api);
    stand_in.set_upload_origin(cos);
    stand_in.fault(Step::Upload, When::Always, Fault::Delay(delay));
    stand_in.config_json(Path::new(dir));
    println!("{own_address}");
    loop {
        thread::park();
    }
}
