//! The access token that all threads share: until when it is used, and whether the API takes it.
//!
//! Does not fetch, save or renew tokens: `get_access_token` and `post_json` in `main.rs` do.

use std::sync::{Condvar, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cli::text_in;
use crate::failure::{Failure, Stage};
use crate::stop::wait_a_moment;

/// Seconds. A token that has less than this left is not used any more.
const MARGIN: i64 = 60;

pub struct AccessToken {
    /// The token itself. No output may show it.
    pub text: String,
    /// When it was fetched, in seconds since 1970.
    pub created: i64,
    /// Its life, in seconds.
    pub expires_in: i64,
    /// It was fetched by this run, not found in the config.
    is_new: bool,
}

impl AccessToken {
    /// A token that was just fetched; it expires in `expires_in` seconds.
    pub fn fetched(text: String, expires_in: i64) -> AccessToken {
        AccessToken {
            text,
            created: unix_seconds(),
            expires_in,
            is_new: true,
        }
    }

    /// Returns the token in `config`. `None` if there is none, it has less than 60 s left, its times are
    /// in the future or are no numbers, or it was fetched for another account than `appid`.
    pub fn saved_in(config: &Value, appid: Option<&str>) -> Option<AccessToken> {
        if let (Some(fetched_for), Some(appid)) = (text_in(config, "token_appid"), appid)
            && fetched_for != appid
        {
            return None;
        }
        let token = AccessToken {
            text: text_in(config, "access_token")?.to_owned(),
            created: whole_seconds(&config["create_time"])?,
            expires_in: whole_seconds(&config["expires_in"])?,
            is_new: false,
        };
        let is_from_future = token.created > unix_seconds();
        (!is_from_future && token.is_usable()).then_some(token)
    }

    fn is_usable(&self) -> bool {
        let margin = if self.is_new {
            MARGIN.min(self.expires_in / 2) // else one that lives for a minute would never be used
        } else {
            MARGIN
        };
        let end = self.created.saturating_add(self.expires_in);
        unix_seconds() <= end.saturating_sub(margin)
    }
}

/// Returns a number of seconds without its fraction. Python's `time.time()` has one.
fn whole_seconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?.to_string();
    number.split('.').next()?.parse().ok()
}

/// The token of the run, if it has one.
pub struct SharedToken {
    state: Mutex<State>,
    /// A thread has ended its look for a token.
    found: Condvar,
}

struct State {
    current: Option<AccessToken>,
    /// The token that the API refused last, until another token has worked.
    refused: Option<String>,
    /// A thread looks for a token.
    is_looked_for: bool,
    /// Why no token can be found, once that is known.
    why_none: Option<Failure>,
}

impl State {
    fn usable(&self) -> Option<&AccessToken> {
        self.current.as_ref().filter(|token| token.is_usable())
    }
}

impl SharedToken {
    pub fn new(token: Option<AccessToken>) -> SharedToken {
        SharedToken {
            state: Mutex::new(State {
                current: token,
                refused: None,
                is_looked_for: false,
                why_none: None,
            }),
            found: Condvar::new(),
        }
    }

    /// Returns the current token if it is usable. Otherwise one thread calls `find`, and the other
    /// threads wait for its result, be it a failure. The wait ends if `is_over`.
    pub fn get_or(
        &self,
        find: impl FnOnce() -> Result<AccessToken, Failure>,
        is_over: impl Fn() -> bool,
    ) -> Result<String, Failure> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(token) = state.usable() {
                return Ok(token.text.clone());
            }
            if let Some(failure) = &state.why_none {
                return Err(failure.clone());
            }
            if !state.is_looked_for {
                break;
            }
            if is_over() {
                return Err(Failure::stopped(Stage::Token));
            }
            state = wait_a_moment(&self.found, state);
        }
        state.is_looked_for = true;
        drop(state);
        let found = find();
        let mut state = self.state.lock().unwrap();
        state.is_looked_for = false;
        self.found.notify_all();
        match found {
            Ok(token) => {
                let text = token.text.clone();
                state.current = Some(token);
                Ok(text)
            }
            Err(failure) => {
                state.why_none = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Returns the current token, if there is one, even if it has expired. No output may show it.
    pub fn text(&self) -> Option<String> {
        let state = self.state.lock().unwrap();
        Some(state.current.as_ref()?.text.clone())
    }

    /// Notes that a call worked with the token `text`.
    pub fn worked(&self, text: &str) {
        let mut state = self.state.lock().unwrap();
        if let Some(token) = &state.current
            && token.text == text
        {
            state.refused = None;
        }
    }

    /// The API refused the token `text`. Drops it and returns true: another token may help. Returns
    /// false and keeps it if another token will not help. That is so if this run fetched `text` after
    /// an earlier refusal, and `text` has never worked. (`stable_token` can return the refused token
    /// again.)
    pub fn drop_refused(&self, text: &str) -> bool {
        let mut state = self.state.lock().unwrap();
        match &state.current {
            Some(token) if token.text == text => {
                if token.is_new && state.refused.is_some() {
                    return false; // as it is kept, no thread fetches another
                }
                state.refused = Some(text.to_owned());
                state.current = None;
                true
            }
            _ => true, // another thread has replaced it already
        }
    }

    /// Whether `token` is the one that the API refused last.
    pub fn has_refused(&self, token: &AccessToken) -> bool {
        self.state.lock().unwrap().refused.as_deref() == Some(&token.text)
    }
}

fn unix_seconds() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |time| time.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(created: i64, expires_in: i64) -> Value {
        serde_json::json!({
            "create_time": unix_seconds() + created,
            "expires_in": expires_in,
            "access_token": "t",
            "token_appid": "wx1",
        })
    }

    #[test]
    fn a_saved_token_is_used_until_60_s_before_its_end() {
        let is_used = |config: &Value| AccessToken::saved_in(config, Some("wx1")).is_some();
        assert!(is_used(&config(0, 7200)));
        assert!(is_used(&config(-7130, 7200))); // 70 s are left
        assert!(!is_used(&config(-7150, 7200)));
        assert!(!is_used(&config(100, 7200))); // from the future
        assert!(!is_used(&config(0, i64::MIN)));
        assert!(AccessToken::saved_in(&config(0, 7200), Some("wx2")).is_none());
    }

    #[test]
    fn a_new_token_that_has_few_seconds_left_is_used_for_half_of_them() {
        let is_used = |expires_in, age| {
            let mut token = AccessToken::fetched("t".to_owned(), expires_in);
            token.created -= age;
            token.is_usable()
        };
        assert!(is_used(7200, 7130) && !is_used(7200, 7150));
        assert!(is_used(20, 8) && !is_used(20, 12));
    }
}
