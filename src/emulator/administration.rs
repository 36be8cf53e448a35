//! What an administrator changes while the emulator runs: accounts, assignments, the client
//! secret, policies; and what users have consented to.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    base::secret::Secret,
    emulator::{
        aadsts::Failure,
        directory::{App, User},
        grants::Grant,
    },
};

#[derive(Debug, Default)]
pub(crate) struct Administration {
    changes: Mutex<Changes>,
}

/// The changes so far.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) disabled: HashSet<usize>,
    pub(crate) unassigned: HashSet<usize>,
    pub(crate) assigned: HashSet<usize>,
    /// Grants of a user up to this place in their order are void.
    pub(crate) revoked: HashMap<usize, u64>,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) secret_expired: bool,
    pub(crate) require_mfa: bool,
    /// Seconds.
    pub(crate) clock_offset: i64,
    /// (user, app) → scopes.
    pub(crate) consents: HashMap<(usize, usize), BTreeSet<String>>,
}

impl Administration {
    pub(crate) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this account may sign in to this app now.
    pub(crate) fn admits(&self, user: (usize, &User), app: (usize, &App)) -> Result<(), Failure> {
        let changes = self.changes();
        if changes.disabled.contains(&user.0) {
            let text = "The user account is disabled. The account has been disabled by an \
                        administrator.";
            return Err(Failure::invalid_grant(50_057, text));
        }
        let assigned = changes.assigned.contains(&user.0)
            || !app.1.entry.assignment_required
            || !user.1.roles(app.0).is_empty()
            || app.1.entry.assigned_users.iter().any(|name| user.1.is_called(name));
        if changes.unassigned.contains(&user.0) || !assigned {
            let text = format!(
                "Your administrator has configured the application {} ('{}') to block users \
                 unless they are specifically granted ('assigned') access to the application. \
                 The signed in user '{}' is blocked because they are not a direct member of a \
                 group with access, nor had access directly assigned by an administrator.",
                app.1.entry.name, app.1.client_id, user.1.entry.name
            );
            return Err(Failure::new(50_105, "access_denied", text));
        }
        Ok(())
    }

    /// Whether a grant made earlier still stands.
    pub(crate) fn upholds(&self, grant: &Grant) -> Result<(), Failure> {
        if self.is_revoked(grant.user, grant.sequence) {
            let text = "The provided grant has expired due to it being revoked, a fresh auth \
                        token is needed. The user might have changed or reset their password.";
            return Err(Failure::invalid_grant(50_173, text).sub("bad_token"));
        }
        Ok(())
    }

    pub(crate) fn is_revoked(&self, user: usize, sequence: u64) -> bool {
        self.changes().revoked.get(&user).is_some_and(|until| sequence <= *until)
    }

    /// Whether this user must give a second factor.
    pub(crate) fn wants_mfa(&self, user: &User) -> bool {
        user.entry.mfa || self.changes().require_mfa
    }

    /// Scopes that the user has not consented to.
    pub(crate) fn missing_consent(
        &self,
        user: usize,
        app: (usize, &App),
        names: &[String],
    ) -> Vec<String> {
        if !app.1.entry.ask_consent {
            return Vec::new();
        }
        let changes = self.changes();
        let given = changes.consents.get(&(user, app.0));
        names
            .iter()
            .filter(|name| !given.is_some_and(|given| given.contains(*name)))
            .cloned()
            .collect()
    }

    pub(crate) fn consent(&self, user: usize, app: usize, names: &[String]) {
        let mut changes = self.changes();
        changes.consents.entry((user, app)).or_default().extend(names.iter().cloned());
    }
}
