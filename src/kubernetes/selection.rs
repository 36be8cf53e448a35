//! Which workloads get the proxy, and in front of which port.

use std::collections::BTreeSet;

use super::{
    flaw::{Flaw, Reason},
    sidecar::TRAFFIC_PORT,
    workload::{INJECT, Workload},
};

/// What is to become of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets the proxy in front of this port.
    Inject(u16),
    /// It has the proxy already, in front of this port.
    Already(Option<u16>),
    /// It stays as it is.
    Left(String),
}

/// How the ports of a workload fit what is asked for.
enum Fit {
    /// It declares the one port.
    Declared(u16),
    /// It declares none; it may listen on this one.
    Silent(u16),
    /// It does not have what is asked for, or too much of it.
    Not(Reason),
}

/// Decides about all workloads of an input. `Err` holds the number of the one that is unclear.
pub(super) fn select(
    workloads: &[&Workload<'_>],
    wanted: Option<u16>,
) -> Result<Vec<Verdict>, (usize, Flaw)> {
    let mut verdicts: Vec<Option<Verdict>> = Vec::new();
    let mut guessed: Vec<usize> = Vec::new();
    for (index, workload) in workloads.iter().enumerate() {
        let verdict = first_look(workload, wanted).map_err(|flaw| (index, flaw))?;
        if let Some((Verdict::Inject(_), false)) = verdict {
            guessed.push(index);
        }
        verdicts.push(verdict.map(|(verdict, _)| verdict));
    }
    // Nobody said which port, and the workloads do not agree: only one of them can be the app.
    let ports: BTreeSet<u16> = guessed
        .iter()
        .filter_map(|index| match verdicts.get(*index) {
            Some(Some(Verdict::Inject(port))) => Some(*port),
            _ => None,
        })
        .collect();
    if let (true, None, Some(index)) = (ports.len() > 1, wanted, guessed.get(1)) {
        let flaw = workloads.get(*index).map(|w| w.spec.flaw(Reason::WorkloadUnknown));
        return Err((*index, flaw.unwrap_or(Flaw { at: 0, reason: Reason::WorkloadUnknown })));
    }
    let is_guarded =
        |v: &Option<Verdict>| matches!(v, Some(Verdict::Inject(_) | Verdict::Already(_)));
    let any = verdicts.iter().any(is_guarded);
    let mut decided = Vec::new();
    for (index, (verdict, workload)) in verdicts.into_iter().zip(workloads).enumerate() {
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => insist(workload, wanted, any).map_err(|flaw| (index, flaw))?,
        };
        decided.push(verdict);
    }
    Ok(decided)
}

/// What is clear from the workload alone, and whether it was asked for by an annotation.
fn first_look(
    workload: &Workload<'_>,
    wanted: Option<u16>,
) -> Result<Option<(Verdict, bool)>, Flaw> {
    if let Some(record) = &workload.record {
        return Ok(Some((Verdict::Already(record.port), true)));
    }
    let wish = workload.switch(INJECT)?;
    if wish == Some(false) {
        return Ok(Some((Verdict::Left(format!("{INJECT} says no")), true)));
    }
    let own = workload.upstream_port()?;
    match (fit(workload, own.or(wanted))?, wish) {
        (Fit::Declared(port), wish) => {
            Ok(Some((Verdict::Inject(port), wish.is_some() || own.is_some())))
        }
        (Fit::Silent(port), Some(true)) => Ok(Some((Verdict::Inject(port), true))),
        (Fit::Silent(port), None) if own.is_some() => Ok(Some((Verdict::Inject(port), true))),
        (Fit::Not(reason), Some(true)) => Err(workload.spec.flaw(reason)),
        (Fit::Not(reason), _) if own.is_some() => Err(workload.spec.flaw(reason)),
        _ => Ok(None),
    }
}

/// A workload that does not fit by itself: left, if another one is the app; else it must be.
fn insist(workload: &Workload<'_>, wanted: Option<u16>, another: bool) -> Result<Verdict, Flaw> {
    match fit(workload, wanted)? {
        Fit::Declared(port) | Fit::Silent(port) if !another => Ok(Verdict::Inject(port)),
        Fit::Not(reason) if !another => Err(workload.spec.flaw(reason)),
        _ => Ok(Verdict::Left(match wanted {
            Some(port) => format!("declares no port {port}"),
            None => "declares no single port".to_owned(),
        })),
    }
}

fn fit(workload: &Workload<'_>, wanted: Option<u16>) -> Result<Fit, Flaw> {
    let declared: BTreeSet<u16> = workload.ports().map(|port| port.number).collect();
    let Some(wanted) = wanted else {
        let app: Vec<u16> = match declared.len() {
            // Several containers, one of which is known to be the app.
            2.. => match workload.default_container()? {
                Some(app) => app.ports.iter().map(|port| port.number).collect(),
                None => Vec::new(),
            },
            _ => declared.into_iter().collect(),
        };
        return Ok(match app.as_slice() {
            [port] => Fit::Declared(*port),
            _ => Fit::Not(Reason::PortUnknown),
        });
    };
    if declared.contains(&wanted) {
        return Ok(Fit::Declared(wanted));
    }
    if declared.is_empty() || wanted == TRAFFIC_PORT {
        return Ok(Fit::Silent(wanted));
    }
    let declared: Vec<String> = declared.iter().map(ToString::to_string).collect();
    Ok(Fit::Not(Reason::PortElsewhere { wanted, declared: declared.join(", ") }))
}
