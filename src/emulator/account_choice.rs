//! Who is signing in: the account that is there, the one that is hinted, or the one that is
//! picked; and the steps before the app may have them.

use std::collections::BTreeSet;

use http::StatusCode;

use crate::emulator::{
    aadsts::Failure,
    authorize::{Stop, Visit, Wish, back},
    browser::SignedIn,
    call::{self, Answer},
    directory::User,
    ids,
    pages::{self, Step, Tile},
    token,
};

impl Visit<'_> {
    /// `max_age` (`OpenID` Connect Core §3.1.2.1).
    fn is_fresh(&self, account: &SignedIn) -> bool {
        let max_age = self.params.one("max_age").and_then(|age| age.parse::<i64>().ok());
        max_age.is_none_or(|age| self.call.now - account.auth_time <= age)
    }

    /// The account without a click, where the request allows it.
    pub(crate) fn account(&self, accounts: &[SignedIn]) -> Result<SignedIn, Stop> {
        let hint = self.params.one("login_hint");
        let hinted = hint.and_then(|hint| self.realm.directory.find_user(hint, self.alias));
        let wanted: Vec<&SignedIn> = accounts
            .iter()
            .filter(|account| hint.is_none() || hinted == Some(account.user))
            .filter(|account| self.params.one("sid").is_none_or(|sid| sid == account.sid))
            .filter(|account| self.is_fresh(account))
            .collect();
        match self.prompt() {
            Some("none") => match wanted.as_slice() {
                [only] => Ok((*only).clone()),
                [] => Err(back(no_session())),
                _ => Err(back(Failure::new(
                    16_000,
                    "interaction_required",
                    "Either multiple user identities are available for the current request or \
                     selected account is not supported for the scenario.",
                ))),
            },
            Some("select_account" | "create") => {
                Err(Stop::Ask(Box::new(self.picker(accounts, None))))
            }
            Some("login") => match hinted.and_then(|user| self.realm.directory.user(user)) {
                Some(user) => Err(Stop::Ask(Box::new(self.step(Step::Confirm, user, &[])))),
                None => Err(Stop::Ask(Box::new(self.picker(accounts, None)))),
            },
            Some("consent" | "no_session") | None => match (wanted.as_slice(), hinted) {
                ([only], _) => Ok((*only).clone()),
                (_, Some(user)) => self.entered(user, accounts),
                (_, None) => Err(Stop::Ask(Box::new(self.picker(accounts, hint)))),
            },
            Some(other) => {
                let text = format!("Unsupported 'prompt' value '{other}'.");
                Err(back(Failure::invalid_request(90_023, text)))
            }
        }
    }

    /// The account that was clicked.
    pub(crate) fn chosen(&self, name: &str, accounts: &[SignedIn]) -> Result<SignedIn, Stop> {
        match self.realm.directory.find_user(name, self.alias) {
            Some(user) => self.entered(user, accounts),
            None => Err(Stop::Ask(Box::new(self.picker(accounts, Some(name))))),
        }
    }

    /// Signs a user in, after the password if there is one.
    fn entered(&self, place: usize, accounts: &[SignedIn]) -> Result<SignedIn, Stop> {
        let known = accounts.iter().find(|account| account.user == place);
        let user = self.realm.directory.user(place).ok_or_else(|| back(no_session()))?;
        let again = self.prompt() == Some("login");
        if let Some(known) = known.filter(|known| !again && self.is_fresh(known)) {
            return Ok(known.clone());
        }
        if let Some(password) = &user.entry.password {
            match self.params.one("_password") {
                Some(given) if given == password.expose() => {}
                Some(_) => {
                    return Err(Stop::Ask(Box::new(self.step(Step::WrongPassword, user, &[]))));
                }
                None => return Err(Stop::Ask(Box::new(self.step(Step::Password, user, &[])))),
            }
        }
        Ok(SignedIn {
            user: place,
            sid: known.map_or_else(ids::random_guid, |known| known.sid.clone()),
            auth_time: self.call.now,
            mfa: false,
            apps: BTreeSet::new(),
        })
    }

    pub(crate) fn second_factor(
        &self,
        mut account: SignedIn,
        wish: &Wish,
    ) -> Result<SignedIn, Stop> {
        let user = self.user(&account).ok_or_else(|| back(no_session()))?;
        let wanted = self.realm.administration.wants_mfa(user) || !wish.claims.contexts.is_empty();
        if !wanted || account.mfa {
            return Ok(account);
        }
        if self.params.one("_mfa").is_some() {
            account.mfa = true;
            return Ok(account);
        }
        if self.prompt() == Some("none") {
            let text = "Due to a configuration change made by your administrator, or because you \
                        moved to a new location, you must use multi-factor authentication to \
                        access the resource.";
            return Err(back(
                Failure::new(50_076, "interaction_required", text).sub("basic_action"),
            ));
        }
        Err(Stop::Ask(Box::new(self.step(Step::SecondFactor, user, &[]))))
    }

    pub(crate) fn consent(&self, account: &SignedIn, user: &User, wish: &Wish) -> Result<(), Stop> {
        let names = wish.scopes.names();
        let app = (self.place, self.app);
        let missing = self.realm.administration.missing_consent(account.user, app, &names);
        if missing.is_empty() && self.prompt() != Some("consent") {
            return Ok(());
        }
        match self.params.one("_consent") {
            Some("yes") => {
                self.realm.administration.consent(account.user, self.place, &names);
                Ok(())
            }
            _ if self.prompt() == Some("none") => {
                let mut failure = token::consent_missing(self.app);
                failure.error = "consent_required".into();
                Err(back(failure))
            }
            _ => Err(Stop::Ask(Box::new(self.step(Step::Consent, user, &names)))),
        }
    }

    fn picker(&self, accounts: &[SignedIn], unknown: Option<&str>) -> Answer {
        let cancel = format!("?{}", self.params.query_with(&["_user"], &[("_cancel", "1")]));
        let tiles: Vec<Tile> = self
            .realm
            .directory
            .users()
            .iter()
            .enumerate()
            .filter(|(_, user)| user.is_in(self.alias))
            .map(|(place, user)| {
                let signed_in = accounts.iter().any(|account| account.user == place);
                let query = self.params.query_with(&["_user"], &[("_user", &user.entry.name)]);
                Tile::new(user, signed_in, format!("?{query}"))
            })
            .collect();
        let html = pages::picker(&self.app.entry.name, &tiles, unknown, &cancel);
        call::page(StatusCode::OK, html)
    }

    fn step(&self, step: Step, user: &User, scopes: &[String]) -> Answer {
        let fields = self.params.iter().filter(|(name, _)| !matches!(*name, "_user" | "_password"));
        let mut fields: Vec<(String, String)> =
            fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        fields.push(("_user".to_owned(), user.entry.name.clone()));
        // The next step must not ask for the password again.
        if let (Step::SecondFactor | Step::Consent, Some(password)) =
            (step, self.params.one("_password"))
        {
            fields.push(("_password".to_owned(), password.to_owned()));
        }
        let without = ["_user", "_password"];
        let cancel = format!("?{}", self.params.query_with(&without, &[("_cancel", "1")]));
        let html = pages::step(step, &self.app.entry.name, user, &fields, scopes, &cancel);
        call::page(StatusCode::OK, html)
    }
}

pub(crate) fn no_session() -> Failure {
    let text = "Session information is not sufficient for single-sign-on.";
    Failure::new(50_058, "login_required", text)
}
