//! The machine a result is of: a number without it says nothing.

use serde::{Deserialize, Serialize};

/// What it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Cores that we may run on.
    pub cores: u64,
    /// Memory.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one. What the kernel does not tell is "unknown" or 0.
    #[must_use]
    pub fn here() -> Self {
        let cpu = procfs::Current::current().ok();
        let processor = cpu.as_ref().and_then(|cpu: &procfs::CpuInfo| cpu.model_name(0).map(str::to_owned));
        let memory: Option<procfs::Meminfo> = procfs::Current::current().ok();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        Self {
            processor: known(processor.as_deref().unwrap_or_default()),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            memory_gib: memory.map_or(0, |memory| (memory.mem_total + (1 << 29)) >> 30),
            kernel: known(kernel.trim()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, memory_gib, kernel } = self;
        write!(f, "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_survives_being_written_down() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.kernel != "unknown", "{here}");
        assert_eq!(serde_json::from_str::<Machine>(&serde_json::to_string(&here).unwrap()).unwrap(), here);
    }
}
