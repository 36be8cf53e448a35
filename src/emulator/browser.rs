//! Browser sessions at the emulator: who is signed in where, found by the SSO cookie.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use crate::emulator::ids;

/// The SSO cookie; Microsoft's name for it.
pub(crate) const COOKIE: &str = "ESTSAUTH";

/// Sessions kept at most; the oldest drop.
const KEPT: usize = 10_000;

/// One account that is signed in in one browser.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: usize,
    /// The `sid` claim, and the key of front-channel logout.
    pub(crate) sid: String,
    /// When the account was signed in interactively, in seconds since 1970.
    pub(crate) auth_time: i64,
    /// Whether a second factor was given.
    pub(crate) mfa: bool,
    /// Apps (by place in the directory) that this session has signed in to.
    pub(crate) apps: BTreeSet<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Browsers {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_cookie: HashMap<String, (u64, Vec<SignedIn>)>,
    made: u64,
}

impl Browsers {
    /// Accounts signed in in the browser that has this cookie.
    pub(crate) fn accounts(&self, cookie: Option<&str>) -> Vec<SignedIn> {
        let Some(cookie) = cookie else { return Vec::new() };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.by_cookie.get(cookie).map(|(_, accounts)| accounts.clone()).unwrap_or_default()
    }

    /// Notes that `account` is signed in and has been used for an app. Gives the cookie.
    pub(crate) fn remember(&self, cookie: Option<&str>, account: SignedIn) -> String {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cookie.filter(|cookie| sessions.by_cookie.contains_key(*cookie));
        let cookie = known.map_or_else(|| ids::random_text(86), str::to_owned);
        sessions.made += 1;
        let made = sessions.made;
        let (_, accounts) =
            sessions.by_cookie.entry(cookie.clone()).or_insert_with(|| (made, Vec::new()));
        match accounts.iter_mut().find(|known| known.user == account.user) {
            Some(known) => {
                let apps = std::mem::take(&mut known.apps);
                *known = account;
                known.apps.extend(apps);
            }
            None => accounts.push(account),
        }
        if sessions.by_cookie.len() > KEPT {
            let oldest = sessions.by_cookie.iter().min_by_key(|(_, (made, _))| *made);
            if let Some(oldest) = oldest.map(|(cookie, _)| cookie.clone()) {
                sessions.by_cookie.remove(&oldest);
            }
        }
        cookie
    }

    /// Signs one account out of a browser.
    pub(crate) fn forget(&self, cookie: &str, user: usize) -> Option<SignedIn> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, accounts) = sessions.by_cookie.get_mut(cookie)?;
        let index = accounts.iter().position(|account| account.user == user)?;
        Some(accounts.remove(index))
    }

    /// Signs a user out of every browser, as an admin's "revoke sessions" does.
    pub(crate) fn forget_everywhere(&self, user: usize) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, accounts) in sessions.by_cookie.values_mut() {
            accounts.retain(|account| account.user != user);
        }
    }
}
