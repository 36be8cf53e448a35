//! Everything that one emulator knows and remembers.

use std::sync::Arc;

use crate::{
    base::{clock::Clock, units::Span},
    emulator::{
        administration::Administration,
        browser::Browsers,
        directory::{Directory, TenantAlias},
        faults::{Armed, Fault},
        grants::Grants,
        ids,
        request_log::RequestLog,
        scenario::Scenario,
        signing::{Rollover, SigningKeys},
        start::EmulatorError,
    },
};

#[derive(Debug)]
pub(crate) struct Realm {
    pub(crate) directory: Directory,
    pub(crate) keys: SigningKeys,
    pub(crate) grants: Grants,
    pub(crate) browsers: Browsers,
    pub(crate) administration: Administration,
    pub(crate) armed: Armed,
    pub(crate) log: RequestLog,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) invalid_client_status: u16,
    clock: Clock,
}

#[derive(Debug)]
pub(crate) struct Lifetimes {
    token: Option<Span>,
    pub(crate) refresh_in: bool,
    code: Span,
    refresh_token: Span,
}

impl Realm {
    pub(crate) fn new(scenario: Scenario, clock: Clock) -> Result<Arc<Self>, EmulatorError> {
        let realm = Self {
            directory: Directory::new(&scenario)?,
            keys: SigningKeys::new()?,
            grants: Grants::default(),
            browsers: Browsers::default(),
            administration: Administration::default(),
            armed: Armed::default(),
            log: RequestLog::default(),
            lifetimes: Lifetimes {
                token: scenario.token_lifetime,
                refresh_in: scenario.refresh_in,
                code: scenario.code_lifetime,
                refresh_token: scenario.refresh_token_lifetime,
            },
            invalid_client_status: scenario.invalid_client_status,
            clock,
        };
        for fault in scenario.faults {
            realm.fault(fault);
        }
        Ok(Arc::new(realm))
    }

    /// Seconds since 1970 by the emulator's own, perhaps wrong, clock.
    pub(crate) fn now(&self) -> i64 {
        self.clock.unix() + self.administration.changes().clock_offset
    }

    /// Arms a fault, or makes the change that it stands for.
    pub(crate) fn fault(&self, fault: Fault) {
        if fault.clear {
            self.armed.clear();
        }
        if fault.rollover {
            self.keys.roll(match (fault.announced, fault.retire) {
                (true, _) => Rollover::Announced,
                (_, true) => Rollover::Retiring,
                _ => Rollover::Immediate,
            });
        }
        self.change_accounts(&fault);
        self.change_policies(&fault);
        if fault.endpoint.is_some() {
            self.armed.arm(fault);
        }
    }

    fn change_accounts(&self, fault: &Fault) {
        let find = |name: &Option<String>| {
            let name = name.as_deref()?;
            self.directory.find_user(name, TenantAlias::Common)
        };
        if let Some(user) = find(&fault.revoke) {
            let sequence = self.grants.next_sequence();
            self.administration.changes().revoked.insert(user, sequence);
            self.browsers.forget_everywhere(user);
        }
        let mut changes = self.administration.changes();
        if let Some(user) = find(&fault.disable) {
            changes.disabled.insert(user);
        }
        if let Some(user) = find(&fault.enable) {
            changes.disabled.remove(&user);
        }
        if let Some(user) = find(&fault.unassign) {
            changes.assigned.remove(&user);
            changes.unassigned.insert(user);
        }
        if let Some(user) = find(&fault.assign) {
            changes.unassigned.remove(&user);
            changes.assigned.insert(user);
        }
    }

    fn change_policies(&self, fault: &Fault) {
        let mut changes = self.administration.changes();
        if let Some(secret) = &fault.client_secret {
            changes.client_secret = Some(secret.clone());
        }
        changes.secret_expired = fault.secret_expired.unwrap_or(changes.secret_expired);
        changes.require_mfa = fault.require_mfa.unwrap_or(changes.require_mfa);
        changes.clock_offset = fault.clock_offset.unwrap_or(changes.clock_offset);
    }

    /// The first user whom a fault names and who does not exist.
    pub(crate) fn unknown_user<'f>(&self, fault: &'f Fault) -> Option<&'f str> {
        [&fault.revoke, &fault.disable, &fault.enable, &fault.unassign, &fault.assign]
            .into_iter()
            .filter_map(|name| name.as_deref())
            .find(|name| self.directory.find_user(name, TenantAlias::Common).is_none())
    }
}

impl Lifetimes {
    /// Seconds for which a new access token lives; `long` for clients that handle continuous
    /// access evaluation.
    pub(crate) fn access_token(&self, long: bool) -> i64 {
        let seconds = match self.token {
            Some(span) => span.duration().as_secs(),
            None if long => ids::random_between(72_000, 100_801),
            None => ids::random_between(3600, 5400),
        };
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    pub(crate) fn code(&self) -> i64 {
        seconds(self.code)
    }

    pub(crate) fn refresh_token(&self) -> i64 {
        seconds(self.refresh_token)
    }
}

fn seconds(span: Span) -> i64 {
    i64::try_from(span.duration().as_secs()).unwrap_or(i64::MAX / 2)
}
