//! What the process takes of its machine, read at each scrape.

use std::{fmt, fs, path::Path};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

/// The limit of the container where cgroups are of version 2, then where they are of version 1.
/// Inside a container the root of the hierarchy is the container's own.
const LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// Version 1 writes the largest number of pages for "no limit"; no machine has as much.
const NO_LIMIT: i64 = 1 << 60;

/// Resident memory and its limit; absent where the system does not tell.
#[derive(Debug)]
pub(super) struct Memory;

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, bytes: Option<i64>| {
            let Some(bytes) = bytes else { return Ok(()) };
            let kind = MetricType::Gauge;
            let metric = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
            ConstGauge::new(bytes).encode(metric)
        };
        gauge("resident_memory", "Memory that the process holds", resident_bytes())?;
        let limit = LIMITS.into_iter().find_map(|file| limit_in(Path::new(file)));
        gauge("memory_limit", "Memory at which the container is ended", limit)
    }
}

/// `VmRSS` of proc(5).
fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// `max` of version 2 is no number either.
fn limit_in(file: &Path) -> Option<i64> {
    let bytes: i64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (0..NO_LIMIT).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{super::metrics::Metrics, *};

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_the_process_is_read_at_each_scrape() {
        let bytes = resident_bytes().unwrap();
        assert!(bytes > 1 << 20, "{bytes}");
        assert!(Metrics::new().render().contains("vestibule_resident_memory_bytes "));
    }

    #[test]
    fn a_limit_is_a_number_of_bytes_and_everything_else_is_none() {
        let folder = std::env::temp_dir().join(format!("vestibule-limit-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("memory.max");
        assert_eq!(limit_in(&file), None);
        for (text, limit) in [
            ("134217728\n", Some(134_217_728)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("-1\n", None),
            ("", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(limit_in(&file), limit, "{text:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
