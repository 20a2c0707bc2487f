//! Clocks, memory, and what is made of repeated measurements.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Returns the CPU seconds, user and system, of all threads of this process.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// CPU seconds, user and system, all threads.
    pub(crate) cpu_s: f64,
    /// Seconds by the clock on the wall.
    pub(crate) wall_s: f64,
}

/// Does a piece of work and says what it took.
pub(crate) fn cost_of<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let done = work()?;
    let cost = Cost {
        cpu_s: cpu_seconds() - cpu,
        wall_s: wall.elapsed().as_secs_f64(),
    };
    Ok((done, cost))
}

/// Returns the bytes of anonymous memory that are resident now: heap and stacks, no mapped files.
pub(crate) fn anonymous_bytes() -> Result<u64> {
    status_bytes(&fs::read_to_string("/proc/self/status")?, "RssAnon:")
}

/// Returns what a line of `/proc/PID/status` says, in bytes.
pub(crate) fn status_bytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kib = kib.with_context(|| format!("no {name} in /proc/PID/status"))?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// Watches the anonymous memory of this process from a thread of its own.
///
/// A peak shorter than the interval may be missed, and the watching costs CPU: CPU is measured in another process.
pub(crate) struct MemoryWatch {
    stop: &'static AtomicBool,
    thread: JoinHandle<Result<u64>>,
}

impl MemoryWatch {
    const INTERVAL: Duration = Duration::from_millis(1);

    /// Starts watching.
    pub(crate) fn start() -> Self {
        let stop: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let thread = thread::spawn(|| {
            let mut peak = anonymous_bytes()?;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Self::INTERVAL);
                peak = peak.max(anonymous_bytes()?);
            }
            Ok(peak)
        });
        Self { stop, thread }
    }

    /// Stops, and returns the highest figure seen.
    pub(crate) fn peak_bytes(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

/// Middle and tail of the times of many calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of the calls took this or less, in nanoseconds.
    pub(crate) p50_ns: f64,
    /// 99 of 100 did.
    pub(crate) p99_ns: f64,
}

impl Latency {
    /// Sums up times in nanoseconds; what reading the clock takes is taken off.
    pub(crate) fn of(mut times: Vec<u64>) -> Self {
        let clock = clock_ns();
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times[index.min(times.len() - 1)].saturating_sub(clock) as f64
        };
        Self {
            p50_ns: at(0.5),
            p99_ns: at(0.99),
        }
    }
}

/// Returns what two readings of the clock with nothing between them lie apart, usually.
fn clock_ns() -> u64 {
    let mut times: Vec<u64> = (0..10_001).map(|_| nanoseconds(Instant::now())).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Returns the nanoseconds since an instant.
pub(crate) fn nanoseconds(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

/// A figure measured several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Sums up figures; `None` if there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() {
            0 => return None,
            odd if odd % 2 == 1 => figures[middle],
            _ => (figures[middle - 1] + figures[middle]) / 2.0,
        };
        Some(Self {
            median,
            min: figures[0],
            max: figures[figures.len() - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        let of = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(spread(&[3.0, 1.0, 2.0]), of(2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), of(2.5, 1.0, 4.0));
    }

    #[test]
    fn tails_are_tails() {
        let latency = Latency::of((0..1_000_000).step_by(1_000).collect());
        assert!((latency.p50_ns - 500_000.0).abs() < 10_000.0);
        assert!((latency.p99_ns - 990_000.0).abs() < 10_000.0);
    }
}
