//! Tells a host that is away from one that was never there: it was connected before, in this run.
//!
//! The one is the affair of the whole run, which waits for it. The other is that of a file: a wrong
//! address is no reason to wait.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

use ureq::http::Uri;

/// The hosts, with their ports, that a connection was made to.
#[derive(Debug, Default)]
pub struct KnownHosts(Mutex<BTreeSet<String>>);

impl KnownHosts {
    /// Runs `connect`, which makes a connection to the host of `uri`. If that fails although it worked
    /// before, the error is `Away`.
    pub fn connect<T>(
        &self,
        uri: &Uri,
        connect: impl FnOnce() -> Result<T, ureq::Error>,
    ) -> Result<T, ureq::Error> {
        let host = uri.authority().map(|host| host.to_string().to_lowercase());
        let host = host.unwrap_or_default();
        let connected = connect();
        let mut known = self.0.lock().unwrap();
        match connected {
            Ok(connection) => {
                known.insert(host);
                Ok(connection)
            }
            Err(error) if known.contains(&host) => Err(ureq::Error::Other(Box::new(Away(error)))),
            Err(error) => Err(error),
        }
    }
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
