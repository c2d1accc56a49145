//! Looks hosts up, so that each host that curl finds is found.
//!
//! A name is asked for in three forms, one after the other: for both families (IPv6 and IPv4) as it is
//! written; for IPv4 alone as it is written; for IPv4 alone with a final dot, which leaves out the search
//! list. The next form begins as soon as one has failed, or after 1 s without an answer, beside it. The
//! first answer with an address is taken. From then on, the form that found the host comes first, for
//! all threads.
//!
//! Why three forms? The static binary is linked with musl. It asks for both families together, and drops
//! the good answer for IPv4 if the one for IPv6 is NXDOMAIN, SERVFAIL, REFUSED or NOTIMP, or does not
//! come. Many name servers answer so. And musl gives up at the first domain of the search list that
//! answers SERVFAIL, as in Kubernetes, where `ndots:5` puts that list before each name. glibc waits for
//! 10 s if the answer for IPv6 never comes.
//!
//! For example, a name server never answers for IPv6. The first form is still waiting after 1 s. The
//! second one begins, and finds the host in a few ms. The next connection begins with the second form.
//!
//! Why 1 s? A name server answers in 0.1 s, even from far away, and asking it once more costs
//! nothing. A host that is gone costs at most 2 s more than one form alone: if no name server answers at
//! all, musl gives up after 5 s, and the third form begins after 2 s.
//!
//! Does not know what a host is looked up for.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};

/// The time for all forms together.
pub const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(20);
/// If a form has no answer after this time, the next one begins beside it.
const START_NEXT_AFTER: Duration = Duration::from_secs(1);

/// The forms that found hosts in this run.
static FOUND_BY: Mutex<BTreeMap<String, Form>> = Mutex::new(BTreeMap::new());

/// A way to ask for a host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    BothFamilies,
    Ipv4,
    /// With a final dot: the name is complete, and the search list is left out.
    Ipv4Complete,
}

/// Returns the addresses of a host; `None` if it has none.
pub fn look_up(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let known = FOUND_BY.lock().unwrap().get(host).copied();
    let name = host.to_owned();
    let found = first_found(&in_order(known), START_NEXT_AFTER, move |form| {
        addresses(&name, port, form)
    });
    let Answer { form, addresses } = found?;
    FOUND_BY.lock().unwrap().insert(host.to_owned(), form);
    Some(addresses)
}

/// Returns the forms in the order in which they are tried: the one that found the host first.
fn in_order(known: Option<Form>) -> Vec<Form> {
    let mut forms = vec![Form::BothFamilies, Form::Ipv4, Form::Ipv4Complete];
    if let Some(known) = known {
        forms.retain(|form| *form != known);
        forms.insert(0, known);
    }
    forms
}

/// What a form found.
struct Answer {
    form: Form,
    /// Empty if the form found nothing.
    addresses: Vec<SocketAddr>,
}

/// Asks in one form after the other, and returns the first answer with an address. If a form has no answer
/// after the time `start_next_after`, the next one begins. `ask` has no time limit of its own, so threads
/// call it. If the system gives no thread, this thread does.
fn first_found(
    forms: &[Form],
    start_next_after: Duration,
    ask: impl Fn(Form) -> Vec<SocketAddr> + Send + Sync + 'static,
) -> Option<Answer> {
    let until = Instant::now() + LOOK_UP_TIMEOUT;
    let ask = Arc::new(ask);
    let (sender, answers) = mpsc::channel();
    let mut forms = forms.iter();
    let mut under_way = 0;
    loop {
        if let Some(&form) = forms.next() {
            let (ask, sender) = (Arc::clone(&ask), sender.clone());
            let work = move || {
                let addresses = ask(form);
                let _ = sender.send(Answer { form, addresses }); // nobody waits any more: no matter
            };
            under_way += 1;
            if let Err(_no_thread) = thread::Builder::new().spawn(work.clone()) {
                work();
            }
        } else if under_way == 0 {
            return None;
        }
        let left = until.saturating_duration_since(Instant::now());
        let wait = if forms.len() > 0 {
            left.min(start_next_after)
        } else {
            left
        };
        match answers.recv_timeout(wait) {
            Ok(answer) if !answer.addresses.is_empty() => return Some(answer),
            Ok(_nothing) => under_way -= 1,
            Err(RecvTimeoutError::Timeout) if forms.len() > 0 => {}
            Err(_) => return None,
        }
    }
}

/// Asks the system. Returns no address if it finds none.
fn addresses(host: &str, port: u16, form: Form) -> Vec<SocketAddr> {
    let complete = format!("{host}.");
    let name = match form {
        Form::BothFamilies => {
            let found = (host, port).to_socket_addrs();
            return found.map_or(Vec::new(), Iterator::collect);
        }
        Form::Ipv4 => host,
        Form::Ipv4Complete => &complete,
    };
    let hints = AddrInfoHints {
        address: AddrFamily::Inet.into(),
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let mut addresses = Vec::new();
    if let Ok(found) = getaddrinfo(Some(name), None, Some(hints)) {
        for address in found.flatten() {
            addresses.push(SocketAddr::new(address.sockaddr.ip(), port));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "192.0.2.1:443".parse().unwrap()
    }

    /// Asks in this order, where only `good` finds an address.
    fn found_by(forms: &[Form], good: Form) -> Option<Form> {
        let ask = move |form| Vec::from_iter((form == good).then(address));
        first_found(forms, START_NEXT_AFTER, ask).map(|answer| answer.form)
    }

    #[test]
    fn the_form_that_found_a_host_comes_first() {
        assert_eq!(
            in_order(None),
            [Form::BothFamilies, Form::Ipv4, Form::Ipv4Complete]
        );
        assert_eq!(
            in_order(Some(Form::Ipv4Complete)),
            [Form::Ipv4Complete, Form::BothFamilies, Form::Ipv4]
        );
    }

    #[test]
    fn each_form_that_fails_is_followed_by_the_next() {
        for form in in_order(None) {
            assert_eq!(found_by(&in_order(None), form), Some(form));
        }
        assert_eq!(found_by(&[Form::Ipv4], Form::BothFamilies), None);
    }

    #[test]
    fn a_form_that_never_answers_does_not_hold_up_the_next() {
        let (never, silence) = mpsc::channel::<()>();
        let silence = Mutex::new(silence);
        let soon = Duration::from_millis(1);
        let found = first_found(&in_order(None), soon, move |form| {
            if form != Form::Ipv4 {
                let _ = silence.lock().unwrap().recv(); // until the test ends
            }
            vec![address()]
        });
        assert_eq!(found.map(|answer| answer.form), Some(Form::Ipv4));
        drop(never);
    }
}
