//! The hosts that were connected in this run, each with the address that worked last. All threads
//! share them.
//!
//! This tells a host that is away from one that was never there. The one is the affair of the whole
//! run, which waits for it. The other is that of a file: a wrong address is no reason to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;

/// By host and port, as they stand in the URL.
static ADDRESSES: Mutex<BTreeMap<String, SocketAddr>> = Mutex::new(BTreeMap::new());

/// Returns the address of a host that worked last. `None` if the host was never connected.
pub fn address_of(host: &str) -> Option<SocketAddr> {
    ADDRESSES.lock().unwrap().get(host).copied()
}

/// Remembers the address that a host was connected at.
pub fn remember(host: String, address: SocketAddr) {
    ADDRESSES.lock().unwrap().insert(host, address);
}

/// Why no connection can be made to a host that was there before.
#[derive(Debug)]
pub struct Away(pub ureq::Error);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Away {}
