//! The access token that all threads share: how long it is used, and whether it is known to work.
//!
//! Fetches none and saves none.

use std::sync::Mutex;
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
    refused: bool,
}

impl AccessToken {
    /// A token that was just fetched and lives so many seconds; `replaces_refused`: in the place of
    /// one that the API did not take.
    pub fn new(text: &str, expires_in: i64, replaces_refused: bool) -> AccessToken {
        // `stable_token` may give one that is about to expire.
        let margin = MARGIN.min(expires_in / 2);
        AccessToken {
            text: text.to_owned(),
            use_until: unix_seconds().saturating_add(expires_in - margin),
            unproven: replaces_refused,
            refused: false,
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
            refused: false,
        })
    }

    /// Whether it can be used, as far as is known; `refused` is one that cannot.
    pub fn is_usable(&self, refused: Option<&str>) -> bool {
        // `stable_token` may give the refused one again: one thread is to find that out, not each.
        let is_other = self.unproven || refused != Some(&self.text);
        !self.refused && unix_seconds() <= self.use_until && is_other
    }
}

/// The token of the run, if it has one.
pub struct SharedToken {
    current: Mutex<Option<AccessToken>>,
    /// Held while a token is found. What it holds is why none is to be had, once that is known.
    finding: Mutex<Option<Failure>>,
}

impl SharedToken {
    pub fn new(token: Option<AccessToken>) -> SharedToken {
        SharedToken {
            current: Mutex::new(token),
            finding: Mutex::new(None),
        }
    }

    /// The token's text, if it can be used; or else that of the one that `find` finds. One thread
    /// does, the others wait for it.
    pub fn get_or(
        &self,
        refused: Option<&str>,
        find: impl FnOnce() -> Result<AccessToken, Failure>,
    ) -> Result<String, Failure> {
        if let Some(text) = self.usable(refused) {
            return Ok(text);
        }
        let mut hopeless = self.finding.lock().unwrap();
        if let Some(text) = self.usable(refused) {
            return Ok(text); // another thread has found it
        }
        if let Some(failure) = &*hopeless {
            return Err(failure.clone());
        }
        match find() {
            Ok(token) => {
                let text = token.text.clone();
                *self.current.lock().unwrap() = Some(token);
                Ok(text)
            }
            Err(failure) => {
                *hopeless = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn usable(&self, refused: Option<&str>) -> Option<String> {
        match &*self.current.lock().unwrap() {
            Some(token) if token.is_usable(refused) => Some(token.text.clone()),
            _ => None,
        }
    }

    /// The token's text, usable or not; empty without one. No output may show it.
    pub fn text(&self) -> String {
        match &*self.current.lock().unwrap() {
            Some(token) => token.text.clone(),
            None => String::new(),
        }
    }

    /// A call worked with the token `text`.
    pub fn worked(&self, text: &str) {
        if let Some(token) = &mut *self.current.lock().unwrap()
            && token.text == text
        {
            token.unproven = false;
        }
    }

    /// The API did not take the token `text`. Returns whether it had taken the place of a refused
    /// one, and never worked. If not, nobody is given it any more.
    pub fn refuse(&self, text: &str) -> bool {
        match &mut *self.current.lock().unwrap() {
            Some(token) if token.text == text => {
                token.refused = !token.unproven;
                token.unproven
            }
            _ => false,
        }
    }
}

pub fn unix_seconds() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |time| time.as_secs() as i64)
}
