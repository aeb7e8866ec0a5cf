//! What a process uses, watched from outside: [`ResourceMonitor`].
//!
//! The one room of the lab that reads the machine (`/proc`) instead of a seam. Only what the allocator of a process has handed out,
//! nobody can see from outside: there it takes the word of the process ([`Heap`]), beside what is resident. Time is tokio's, so that
//! samples line up with the rest of the run.

use std::fmt;
use std::time::Duration;

use procfs::CurrentSI as _;
use procfs::process::Process;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::live_bytes::live_bytes_of_all;
use crate::trend::{Trend, trend};

/// A sample could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The process is gone, or `/proc` does not show it to us.
    #[error("cannot watch process {pid}")]
    Gone {
        /// Which.
        pid: i32,
        /// What `/proc` says.
        source: procfs::ProcError,
    },
}

/// Processor seconds that all processes of the machine have used so far: what ours did not use of it, others did.
///
/// # Errors
/// When `/proc` does not show it.
pub fn machine_cpu_seconds() -> procfs::ProcResult<f64> {
    let total = procfs::KernelStats::current()?.total;
    let busy = total.user + total.nice + total.system + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
    Ok(busy as f64 / procfs::ticks_per_second() as f64)
}

/// The threads of a process.
///
/// # Errors
/// When there is none.
pub fn threads_of(pid: u32) -> procfs::ProcResult<Vec<i32>> {
    let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?;
    process.tasks()?.map(|task| Ok(task?.tid)).collect()
}

/// Bytes of private memory that a process may write to, used or not: what the kernel counts against `RLIMIT_DATA`.
///
/// # Errors
/// When there is no such process.
pub fn data_bytes(pid: u32) -> procfs::ProcResult<u64> {
    let status = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?.status()?;
    Ok(status.vmdata.unwrap_or(0) * 1024)
}

/// How often so far the kernel has dropped the beginning of a connection because a listener's queue was full.
///
/// # Errors
/// When `/proc` does not show it.
pub fn listen_drops() -> std::io::Result<u64> {
    // Two lines for each kind: names, then values in the same order.
    let text = std::fs::read_to_string("/proc/net/netstat")?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let drops = columns.find(|(name, _)| *name == "ListenDrops").and_then(|(_, value)| value.parse().ok());
    drops.ok_or_else(|| std::io::Error::other("/proc/net/netstat does not tell of ListenDrops"))
}

/// What a process used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the monitor was made.
    pub at: f64,
    /// Bytes resident in memory.
    pub resident_bytes: u64,
    /// Bytes allocated and not given back. `None`: nobody said, or not anew since the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_bytes: Option<u64>,
    /// Bytes in memory, shared ones divided among those who share them. 0 where the kernel does not tell.
    pub proportional_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Seconds of processor time used so far, user and system.
    pub cpu_seconds: f64,
    /// Context switches so far, wanted and unwanted.
    pub context_switches: u64,
}

/// Tells how many bytes a process has allocated and not given back, if it is known anew.
pub struct Heap(Box<dyn Fn() -> Option<u64> + Send + Sync>);

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

/// Watches a process.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use stress::ResourceMonitor;
///
/// let mut monitor = ResourceMonitor::of_self().unwrap();
/// monitor.sample().unwrap();
/// let held = vec![1u8; 64 << 20];
/// monitor.sample().unwrap();
/// let report = monitor.report();
/// assert!(report.peak.resident_bytes >= report.initial.resident_bytes + (60 << 20));
/// assert!(report.peak.live_bytes >= report.initial.live_bytes.map(|bytes| bytes + (60 << 20)));
/// drop(held);
/// # });
/// ```
#[derive(Debug)]
pub struct ResourceMonitor {
    pid: i32,
    process: Process,
    is_self: bool,
    heap: Option<Heap>,
    began: Instant,
    ticks_per_second: f64,
    samples: Vec<Sample>,
}

impl ResourceMonitor {
    /// Of another process.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> Result<Self, MonitorError> {
        let pid = i32::try_from(pid).unwrap_or(i32::MAX);
        let process = Process::new(pid).map_err(|source| MonitorError::Gone { pid, source })?;
        Ok(Self {
            pid,
            process,
            is_self: false,
            heap: None,
            began: Instant::now(),
            ticks_per_second: procfs::ticks_per_second() as f64,
            samples: Vec::new(),
        })
    }

    /// Of the lab itself.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn of_self() -> Result<Self, MonitorError> {
        Ok(Self { is_self: true, ..Self::of(std::process::id())?.heap(live_bytes_of_all) })
    }

    /// Who is asked, with each sample, what the process has allocated.
    #[must_use]
    pub fn heap(mut self, count: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        self.heap = Some(Heap(Box::new(count)));
        self
    }

    /// Takes a sample, and keeps it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn sample(&mut self) -> Result<Sample, MonitorError> {
        let sample = self.read().map_err(|source| MonitorError::Gone { pid: self.pid, source })?;
        self.samples.push(sample);
        Ok(sample)
    }

    fn read(&self) -> procfs::ProcResult<Sample> {
        let status = self.process.status()?;
        let stat = self.process.stat()?;
        let mut resident_bytes = status.vmrss.unwrap_or(0) * 1024;
        if self.is_self
            && let Some(stats) = memory_stats::memory_stats()
        {
            resident_bytes = stats.physical_mem as u64;
        }
        let rollup = self.process.smaps_rollup().ok();
        let proportional_bytes = rollup
            .and_then(|rollup| rollup.memory_map_rollup.0.first().and_then(|map| map.extension.map.get("Pss").copied()))
            .unwrap_or(0);
        Ok(Sample {
            at: self.began.elapsed().as_secs_f64(),
            resident_bytes,
            live_bytes: self.heap.as_ref().and_then(|heap| heap.0()),
            proportional_bytes,
            descriptors: self.process.fd_count()? as u64,
            threads: status.threads,
            cpu_seconds: (stat.utime + stat.stime) as f64 / self.ticks_per_second,
            context_switches: status.voluntary_ctxt_switches.unwrap_or(0)
                + status.nonvoluntary_ctxt_switches.unwrap_or(0),
        })
    }

    /// Takes samples until `stop` is done; ends early when the process does.
    pub async fn sample_until(&mut self, every: Duration, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = ticks.tick() => {
                    if self.sample().is_err() {
                        return;
                    }
                },
            }
        }
    }

    /// What the samples say.
    #[must_use]
    pub fn report(&self) -> ResourceReport {
        let mut peak = Sample::default();
        for sample in &self.samples {
            peak.at = sample.at;
            peak.resident_bytes = peak.resident_bytes.max(sample.resident_bytes);
            peak.live_bytes = peak.live_bytes.max(sample.live_bytes);
            peak.proportional_bytes = peak.proportional_bytes.max(sample.proportional_bytes);
            peak.descriptors = peak.descriptors.max(sample.descriptors);
            peak.threads = peak.threads.max(sample.threads);
            peak.cpu_seconds = peak.cpu_seconds.max(sample.cpu_seconds);
            peak.context_switches = peak.context_switches.max(sample.context_switches);
        }
        let resident: Vec<(f64, f64)> = self.samples.iter().map(|s| (s.at, s.resident_bytes as f64)).collect();
        let live: Vec<(f64, u64)> = self.samples.iter().filter_map(|s| Some((s.at, s.live_bytes?))).collect();
        let points: Vec<(f64, f64)> = live.iter().map(|&(at, bytes)| (at, bytes as f64)).collect();
        let (first, last) = (self.samples.first().copied(), self.samples.last().copied());
        ResourceReport {
            // It may be told a little later than the rest.
            initial: Sample { live_bytes: live.first().map(|live| live.1), ..first.unwrap_or_default() },
            peak,
            last: Sample { live_bytes: live.last().map(|live| live.1), ..last.unwrap_or_default() },
            resident_trend: trend(&resident),
            live_trend: trend(&points),
            samples: self.samples.clone(),
        }
    }
}

/// What the samples of a process say. All of them are in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceReport {
    /// The first sample.
    pub initial: Sample,
    /// The highest of each number.
    pub peak: Sample,
    /// The last sample.
    pub last: Sample,
    /// Whether resident memory grows.
    pub resident_trend: Option<Trend>,
    /// Whether allocated memory grows.
    #[serde(default)]
    pub live_trend: Option<Trend>,
    /// All samples.
    pub samples: Vec<Sample>,
}

impl ResourceReport {
    /// Processor seconds between the first and the last sample.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.last.cpu_seconds - self.initial.cpu_seconds
    }
}
