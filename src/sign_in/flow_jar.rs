//! All sign-ins in progress in one browser, sealed in one cookie.
//!
//! One cookie per flow piles up until servers answer 431; one cookie for one
//! flow breaks the second tab. A jar with eight does neither. It is never compressed, since its
//! return targets are chosen by whoever links here.

use serde::{Deserialize, Serialize};

use crate::{
    sealing::{Keyring, Purpose},
    sign_in::{
        flow::{FLOW_SECONDS, Flow},
        return_to::ReturnTo,
    },
};

/// Most sign-ins in progress in one browser; the oldest drops.
pub(super) const MOST_FLOWS: usize = 8;
/// The jar outlives its flows by this, so that rounds are still counted.
const JAR_SECONDS: i64 = FLOW_SECONDS + 60;
/// A round counts against the loop guard for this long.
const ROUND_SECONDS: i64 = 60;

/// What the jar cookie holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FlowJar {
    flows: Vec<Flow>,
    /// When each of the last sign-ins succeeded without a session in sight.
    rounds: Vec<i64>,
    /// Where the browser goes when Microsoft's sign-out comes back.
    after_sign_out: Option<String>,
}

impl FlowJar {
    /// Opens the cookie's bytes; `None` for anything that this product did not seal.
    pub(super) fn open(sealed: &[u8], keyring: &Keyring) -> Option<Self> {
        let plain = keyring.open(Purpose::Flow, sealed)?;
        let (version, rest) = plain.split_first()?;
        if *version != VERSION {
            return None;
        }
        postcard::from_bytes(rest).ok()
    }

    /// The cookie's bytes, at most `room` of them: older flows drop until they fit.
    pub(super) fn seal(&mut self, room: usize, keyring: &Keyring) -> Option<Vec<u8>> {
        loop {
            let mut plain = vec![VERSION];
            plain.extend(postcard::to_allocvec(self).ok()?);
            let sealed = keyring.seal(Purpose::Flow, &plain).ok()?;
            if sealed.len() <= room {
                return Some(sealed);
            }
            if self.flows.len() <= 1 {
                return None;
            }
            self.flows.remove(0);
        }
    }

    /// Adds a flow; the oldest drops when there are too many, stale ones in any case.
    pub(super) fn add(&mut self, flow: Flow, now: i64) {
        self.flows.retain(|flow| now.saturating_sub(flow.begun_at) <= JAR_SECONDS);
        self.flows.push(flow);
        let surplus = self.flows.len().saturating_sub(MOST_FLOWS);
        self.flows.drain(..surplus);
    }

    /// Takes the flow of `state` out: nobody can use it again.
    pub(super) fn take(&mut self, state: &str) -> Option<Flow> {
        // Every flow is compared, so that the time does not tell which one matched.
        let matches: Vec<bool> = self.flows.iter().map(|flow| flow.answers(state)).collect();
        let index = matches.iter().position(|matched| *matched)?;
        Some(self.flows.remove(index))
    }

    /// A sign-in succeeded; `stuck` if the browser showed no session although it had been given one.
    pub(super) fn count_round(&mut self, now: i64, has_session: bool) {
        if has_session {
            self.rounds.clear();
        } else {
            self.rounds.push(now);
        }
        self.forget_old_rounds(now);
    }

    /// Successful sign-ins within the last minute after which no session was seen.
    pub(super) fn rounds(&self, now: i64) -> usize {
        self.rounds.iter().filter(|at| now.saturating_sub(**at) <= ROUND_SECONDS).count()
    }

    /// Starts counting anew: the person was told, or signed out on purpose.
    pub(super) fn forget_rounds(&mut self) {
        self.rounds.clear();
    }

    /// Remembers where to go after Microsoft's sign-out.
    pub(super) fn return_after_sign_out(&mut self, place: Option<&ReturnTo>) {
        self.after_sign_out = place.map(|place| place.as_str().to_owned());
    }

    /// The place to go after Microsoft's sign-out, once.
    pub(super) fn take_after_sign_out(&mut self) -> Option<String> {
        self.after_sign_out.take()
    }

    /// How long the browser keeps the jar, in seconds: without flows, as long as rounds count.
    pub(super) fn seconds(&self) -> i64 {
        if self.flows.is_empty() && self.after_sign_out.is_none() {
            ROUND_SECONDS
        } else {
            JAR_SECONDS
        }
    }

    /// Whether nothing is left that a later request could need.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.rounds.is_empty() && self.after_sign_out.is_none()
    }

    fn forget_old_rounds(&mut self, now: i64) {
        self.rounds.retain(|at| now.saturating_sub(*at) <= ROUND_SECONDS);
        let surplus = self.rounds.len().saturating_sub(MOST_FLOWS);
        self.rounds.drain(..surplus);
    }
}

/// Changes whenever the encoding does; an older jar is then no jar.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::PublicUrl,
        sealing::{Binding, Key},
    };

    fn keyring() -> Keyring {
        let binding = Binding {
            origin: "https://app.contoso.com".to_owned(),
            client_id: "client".to_owned(),
            tenant: "tenant".to_owned(),
        };
        Keyring::new(vec![Key::generate().unwrap()], binding).unwrap()
    }

    fn flow(path: &str) -> Flow {
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        Flow::begin(&ReturnTo::parse(path, &public_url).unwrap(), 100, 0).unwrap()
    }

    #[test]
    fn the_ninth_sign_in_drops_the_oldest() {
        let mut jar = FlowJar::default();
        let flows: Vec<Flow> = (0..9).map(|n| flow(&format!("/{n}"))).collect();
        for flow in &flows {
            jar.add(flow.clone(), 100);
        }
        assert!(jar.take(&flows[0].state()).is_none());
        for flow in flows[1..].iter().rev() {
            assert_eq!(jar.take(&flow.state()).unwrap().return_to(), flow.return_to());
        }
        assert!(jar.is_empty());
    }

    #[test]
    fn a_flow_is_taken_once() {
        let mut jar = FlowJar::default();
        let flow = flow("/a");
        jar.add(flow.clone(), 100);
        assert!(jar.take(&flow.state()).is_some());
        assert!(jar.take(&flow.state()).is_none());
    }

    #[test]
    fn a_sealed_jar_opens_with_its_keyring_alone() {
        let (keyring, other) = (keyring(), keyring());
        let mut jar = FlowJar::default();
        let flow = flow("/a?b=c");
        jar.add(flow.clone(), 100);
        let sealed = jar.seal(3_000, &keyring).unwrap();
        let mut opened = FlowJar::open(&sealed, &keyring).unwrap();
        assert_eq!(opened.take(&flow.state()).unwrap().return_to(), "/a?b=c");
        assert!(FlowJar::open(&sealed, &other).is_none());
        assert!(FlowJar::open(b"garbage", &keyring).is_none());
    }

    #[test]
    fn long_return_targets_push_out_older_flows_before_the_cookie_is_too_large() {
        let keyring = keyring();
        let mut jar = FlowJar::default();
        let long = format!("/{}", "a".repeat(2000));
        let flows: Vec<Flow> = (0..8).map(|_| flow(&long)).collect();
        for flow in &flows {
            jar.add(flow.clone(), 100);
        }
        let sealed = jar.seal(3_000, &keyring).unwrap();
        assert!(sealed.len() <= 3_000);
        assert!(jar.take(&flows[7].state()).is_some());
    }

    #[test]
    fn rounds_are_counted_for_a_minute_and_forgotten_when_a_session_sticks() {
        let mut jar = FlowJar::default();
        for now in [0, 10, 20] {
            jar.count_round(now, false);
        }
        assert_eq!((jar.rounds(20), jar.rounds(65), jar.rounds(81)), (3, 2, 0));
        jar.count_round(30, true);
        assert_eq!(jar.rounds(30), 0);
    }
}
