//! What this process uses, as metrics under the names of Prometheus' client libraries (reference, rollouts 9.1:
//! `process_*`). Read at scrape time from `/proc`; where there is none, as outside of Linux, there are no series.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use std::{fmt, fs};

/// Ticks in a second of the times in `/proc`: the same on every architecture, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes in the `kB` of `/proc`.
const KIB: u64 = 1024;

/// The series of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        Usage::of_this_process().encode(encoder)
    }
}

/// What `/proc` tells; absent is what it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: Option<f64>,
    /// Since the Unix epoch.
    start_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

impl Usage {
    fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            open_fds: open.and_then(|open| u64::try_from(open).ok()),
            ..Self::parse(
                &read("/proc/self/stat"),
                &read("/proc/self/status"),
                &read("/proc/self/limits"),
                &read("/proc/stat"),
            )
        }
    }

    /// Reads the files of these names; `system` is `/proc/stat`.
    fn parse(stat: &str, status: &str, limits: &str, system: &str) -> Self {
        // The program's name is in parentheses and may hold any character. The third field stands behind it.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, behind)| behind.split_whitespace().collect())
            .unwrap_or_default();
        let seconds = |number: usize| Some(fields.get(number.checked_sub(3)?)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        let boot = number_behind(system, "btime ").and_then(|seconds| u32::try_from(seconds).ok());
        let kib = |name| number_behind(status, name).map(|kib| kib.saturating_mul(KIB));
        Self {
            cpu_seconds: seconds(14).zip(seconds(15)).map(|(user, system)| user + system),
            start_seconds: boot.zip(seconds(22)).map(|(boot, since)| f64::from(boot) + since),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            open_fds: None,
            max_fds: number_behind(limits, "Max open files"),
        }
    }

    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = self.cpu_seconds {
            let counter = ConstCounter::new(seconds);
            let help = "Time the process spent on processors";
            let unit = Some(&Unit::Seconds);
            counter.encode(encoder.encode_descriptor("process_cpu", help, unit, counter.metric_type())?)?;
        }
        if let Some(seconds) = self.start_seconds {
            let gauge = ConstGauge::new(seconds);
            let help = "When the process started, since the Unix epoch";
            let unit = Some(&Unit::Seconds);
            gauge.encode(encoder.encode_descriptor("process_start_time", help, unit, gauge.metric_type())?)?;
        }
        let sizes = [
            ("process_resident_memory", "Memory that is in use", self.resident_bytes),
            ("process_virtual_memory", "Memory that is addressed", self.virtual_bytes),
        ];
        for (name, help, bytes) in sizes {
            let Some(bytes) = bytes else { continue };
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), gauge.metric_type())?)?;
        }
        let counts = [
            ("process_open_fds", "Open file descriptors", self.open_fds),
            (
                "process_max_fds",
                "Most file descriptors that may be open",
                self.max_fds,
            ),
        ];
        for (name, help, count) in counts {
            let Some(count) = count else { continue };
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// The first number behind a name at the beginning of a line.
fn number_behind(text: &str, name: &str) -> Option<u64> {
    let behind = text.lines().find_map(|line| line.strip_prefix(name))?;
    behind.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn files_of_proc_are_read() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 2 0 0 0 250 50 0 0 20 0 9 0 12345 1073741824 5000 18446744073709551615";
        let status = "Name:\ta\nVmSize:\t 1048576 kB\nVmRSS:\t   20000 kB\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n";
        let expected = Usage {
            cpu_seconds: Some(3.0),
            start_seconds: Some(1_700_000_123.45),
            resident_bytes: Some(20_480_000),
            virtual_bytes: Some(1 << 30),
            open_fds: None,
            max_fds: Some(1024),
        };
        assert_eq!(
            Usage::parse(stat, status, limits, "cpu 1\nbtime 1700000000\n"),
            expected
        );
        assert_eq!(Usage::parse("", "", "Max open files  unlimited", ""), Usage::default());
    }

    #[test]
    fn the_process_is_measured_under_the_usual_names() {
        let metrics = Metrics::new();
        metrics.collect(Box::new(ProcessMetrics));
        let page = metrics.render().unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ] {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line
                .unwrap_or_else(|| panic!("{name} is missing in\n{page}"))
                .parse()
                .unwrap();
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{name} {value}");
        }
    }
}
