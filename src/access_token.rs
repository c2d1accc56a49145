//! The access token that all threads share: how long it is used, and whether it is known to work.
//!
//! Does not know where tokens come from, nor where they are kept.

use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::failure::Failure;
use crate::options::text_in;

/// Seconds: a token that is about to expire is not used any more.
const MARGIN: i64 = 60;

pub struct AccessToken {
    text: String,
    /// Seconds since 1970.
    use_until: i64,
    /// It took the place of a refused one, and no call has worked with it yet.
    unproven: bool,
}

impl AccessToken {
    /// A token that was just fetched and lives so many seconds; `replaces_refused`: in the place of
    /// one that the API did not take.
    pub fn new(text: String, expires_in: i64, replaces_refused: bool) -> AccessToken {
        // `stable_token` may give one that is about to expire.
        let margin = MARGIN.min(expires_in / 2);
        AccessToken {
            text,
            use_until: unix_seconds().saturating_add(expires_in - margin),
            unproven: replaces_refused,
        }
    }

    /// The token in `config`, if it is good. One whose times are odd is not.
    pub fn saved_in(config: &Value) -> Option<AccessToken> {
        let created = config["create_time"].as_i64()?;
        let life = config["expires_in"].as_i64()?;
        let use_until = created.saturating_add(life).saturating_sub(MARGIN);
        if !(created..=use_until).contains(&unix_seconds()) {
            return None;
        }
        Some(AccessToken {
            text: text_in(config, "access_token")?.to_owned(),
            use_until,
            unproven: false,
        })
    }

    /// Whether it can be used, as far as is known; `refused` is one that cannot.
    pub fn is_usable(&self, refused: Option<&str>) -> bool {
        unix_seconds() <= self.use_until && refused != Some(&self.text)
    }
}

/// The token of the run, if it has one.
pub struct SharedToken {
    current: Mutex<Option<AccessToken>>,
    fetching: Mutex<Option<Failure>>,
}

impl SharedToken {
    pub fn new(token: Option<AccessToken>) -> SharedToken {
        SharedToken {
            current: Mutex::new(token),
            fetching: Mutex::new(None),
        }
    }

    /// The token, if it can be used.
    pub fn usable(&self, refused: Option<&str>) -> Option<String> {
        let current = self.current.lock().unwrap();
        match &*current {
            Some(token) if token.is_usable(refused) => Some(token.text.clone()),
            _ => None,
        }
    }

    /// To be held while a token is fetched: who needs one meanwhile waits here. (Who only uses one
    /// does not.) What it holds is why none is to be had, once that is known.
    pub fn lock_for_fetching(&self) -> MutexGuard<'_, Option<Failure>> {
        self.fetching.lock().unwrap()
    }

    /// From now on it is `token`. Returns its text.
    pub fn replace(&self, token: AccessToken) -> String {
        let text = token.text.clone();
        *self.current.lock().unwrap() = Some(token);
        text
    }

    /// A call worked with the token `text`.
    pub fn worked(&self, text: &str) {
        let mut current = self.current.lock().unwrap();
        if let Some(token) = &mut *current
            && token.text == text
        {
            token.unproven = false;
        }
    }

    /// Whether the token `text` took the place of a refused one, and never worked.
    pub fn is_unproven(&self, text: &str) -> bool {
        let current = self.current.lock().unwrap();
        match &*current {
            Some(token) => token.text == text && token.unproven,
            None => false,
        }
    }
}

pub fn unix_seconds() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |time| time.as_secs() as i64)
}
