//! The expenses: a list in memory, forgotten when the app stops.

use std::collections::VecDeque;

use serde::Serialize;
use url::form_urlencoded;

use super::visitor::Visitor;

const MOST: usize = 50;
const LONGEST_PURPOSE: usize = 80;

/// What somebody spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Expense {
    purpose: String,
    by: String,
    amount: String,
    #[serde(skip)]
    cents: u64,
}

/// Why a form is no expense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    /// No purpose, or a story.
    #[error("Please say in up to 80 characters what the money was for.")]
    Purpose,
    /// Not an amount.
    #[error("Please enter an amount such as 12.50, less than one million.")]
    Amount,
}

/// The newest expenses of everybody.
#[derive(Debug, Default)]
pub(super) struct Ledger(VecDeque<Expense>);

impl Expense {
    pub(super) fn from_form(form: &[u8], visitor: &Visitor) -> Result<Self, Rejected> {
        let field = |wanted: &str| {
            form_urlencoded::parse(form)
                .find_map(|(name, value)| (name == wanted).then(|| value.trim().to_owned()))
                .unwrap_or_default()
        };
        let purpose = field("purpose");
        if purpose.is_empty() || purpose.chars().count() > LONGEST_PURPOSE {
            return Err(Rejected::Purpose);
        }
        let cents = cents(&field("amount")).ok_or(Rejected::Amount)?;
        let by = visitor.name.clone().unwrap_or_else(|| "nobody".to_owned());
        Ok(Self { purpose, by, amount: in_euros(cents), cents })
    }
}

impl Ledger {
    pub(super) fn with_examples() -> Self {
        let example = |purpose: &str, by: &str, cents| Expense {
            purpose: purpose.to_owned(),
            by: by.to_owned(),
            amount: in_euros(cents),
            cents,
        };
        Self(VecDeque::from([
            example("Night train to Vienna, couchette", "accounts", 8_900),
            example("Overhead projector, bulb", "accounts", 2_450),
        ]))
    }

    pub(super) fn add(&mut self, expense: Expense) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(expense);
    }

    pub(super) fn newest_first(&self) -> Vec<Expense> {
        self.0.iter().rev().cloned().collect()
    }

    pub(super) fn total(&self) -> String {
        in_euros(self.0.iter().map(|expense| expense.cents).sum())
    }
}

/// `12`, `12.5`, `12,50` in cents; nothing above a million.
fn cents(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 6 || fraction.len() > 2 {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = format!("{fraction:0<2}");
    Some(whole.parse::<u64>().ok()? * 100 + fraction.parse::<u64>().ok()?)
}

fn in_euros(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Visitor {
        Visitor { name: Some("alice@contoso.test".to_owned()), ..Visitor::default() }
    }

    #[test]
    fn a_form_becomes_an_expense_of_its_sender() {
        let expense =
            Expense::from_form(b"purpose=Taxi+%26+tip&amount=12,5&by=bob", &alice()).unwrap();
        assert_eq!(
            (expense.purpose.as_str(), expense.by.as_str(), expense.amount.as_str()),
            ("Taxi & tip", "alice@contoso.test", "12.50")
        );
    }

    #[test]
    fn an_amount_is_digits_with_at_most_two_after_the_point() {
        assert_eq!(cents("0"), Some(0));
        assert_eq!(cents("999999.99"), Some(99_999_999));
        for text in ["", ".5", "-1", "+1", "1e3", "1.234", "1000000", "12.5.0", "١٢", "1 000"] {
            assert_eq!(cents(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_without_a_purpose_or_with_a_story_is_refused() {
        assert_eq!(Expense::from_form(b"amount=1", &alice()), Err(Rejected::Purpose));
        assert_eq!(Expense::from_form(b"purpose=+&amount=1", &alice()), Err(Rejected::Purpose));
        let story = format!("purpose={}&amount=1", "x".repeat(LONGEST_PURPOSE + 1));
        assert_eq!(Expense::from_form(story.as_bytes(), &alice()), Err(Rejected::Purpose));
        assert_eq!(Expense::from_form(b"purpose=x", &alice()), Err(Rejected::Amount));
        assert_eq!(Expense::from_form(b"\xff\xfe=%zz", &alice()), Err(Rejected::Purpose));
    }

    #[test]
    fn the_ledger_keeps_the_newest() {
        let mut ledger = Ledger::default();
        for number in 0..=MOST {
            let form = format!("purpose=Trip+{number}&amount=1");
            ledger.add(Expense::from_form(form.as_bytes(), &alice()).unwrap());
        }
        let all = ledger.newest_first();
        assert_eq!((all.len(), ledger.total().as_str()), (MOST, "50.00"));
        assert_eq!(all.first().unwrap().purpose, "Trip 50");
        assert_eq!(all.last().unwrap().purpose, "Trip 1");
    }
}
