//! A server as a child process, and what it uses as the kernel counts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::peer::Peer;

/// A server under test. Ends with this value.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
}

/// How long a server may take to accept its first connection.
const START_TIMEOUT: Duration = Duration::from_secs(10);

impl Child {
    /// Starts a server on a free port and waits until it accepts connections.
    ///
    /// # Errors
    /// When it can not be started, or does not listen in time.
    pub fn start(peer: &Peer) -> anyhow::Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let folder = std::env::temp_dir().join(format!("pubsub-bench-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (program, arguments) = (peer.command)(port, &folder)?;
        let process = Command::new(&program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut child = Self { process, address, folder };
        let begun = tokio::time::Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            anyhow::ensure!(begun.elapsed() < START_TIMEOUT, "{} does not listen on {address}", peer.name);
            if let Some(status) = child.process.try_wait()? {
                anyhow::bail!("{} ended at its start: {status}", peer.name);
            }
            pause(Duration::from_millis(10));
        }
        Ok(child)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// CPU time used so far by all of its threads and children, in seconds.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_s(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0;
        for pid in self.family()? {
            for task in procfs::process::Process::new(pid)?.tasks()? {
                nanoseconds += task?.schedstat()?.sum_exec_runtime;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds far below 2^53")]
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Memory in KiB, shared pages counted by their share.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn pss_kib(&self) -> anyhow::Result<f64> {
        let mut bytes = 0;
        for pid in self.family()? {
            for map in procfs::process::Process::new(pid)?.smaps_rollup()?.memory_map_rollup {
                bytes += map.extension.map.get("Pss").copied().unwrap_or(0);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one process far below 2^53")]
        Ok(bytes as f64 / 1024.0)
    }

    /// The process and its children: some servers work in those.
    fn family(&self) -> anyhow::Result<Vec<i32>> {
        let parent = i32::try_from(self.process.id())?;
        let mut family = vec![parent];
        for process in procfs::process::all_processes()?.flatten() {
            if process.stat().is_ok_and(|stat| stat.ppid == parent) {
                family.push(process.pid());
            }
        }
        Ok(family)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A master that is killed leaves its workers behind; one that is told to end takes them along.
        let has_children = self.family().is_ok_and(|family| family.len() > 1);
        if has_children && let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
            for _ in 0..200 {
                if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                    break;
                }
                pause(Duration::from_millis(10));
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// CPU time that we have used, in seconds.
#[must_use]
pub fn own_cpu_s() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of one process")]
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    seconds
}

/// Time that all processors of the machine were busy, in seconds, in steps of a hundredth.
#[must_use]
pub fn busy_s() -> f64 {
    use procfs::CurrentSI as _;
    procfs::KernelStats::current().map_or(0.0, |stats| {
        let all = &stats.total;
        let ticks = all.user + all.nice + all.system + all.irq.unwrap_or(0) + all.softirq.unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds since the machine started")]
        let seconds = ticks as f64 / procfs::ticks_per_second() as f64;
        seconds
    })
}

/// How often the kernel dropped a connection that came, or asked again for one that was not answered, since it started.
#[must_use]
pub fn kernel_retries() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let wanted = ["ListenDrops", "TCPSynRetrans"];
    let both = names.split(' ').zip(values.split(' '));
    both.filter(|(name, _)| wanted.contains(name)).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// Waits outside of any runtime: the generator is a loop of its own.
#[allow(clippy::disallowed_methods, reason = "no runtime runs here that could be blocked")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
