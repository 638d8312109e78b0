//! GPUs through NVIDIA's management library, where there is one: it is looked for when this starts, and is no part of this
//! program.

use std::ffi::OsStr;
use std::fmt;
use std::time::{Duration, Instant};

use curb_core::host::sample::{GpuSample, Gpus};
use curb_core::host::{Bytes, Permille};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// Asking takes milliseconds.
const EVERY: Duration = Duration::from_secs(1);
/// The most GPUs that are asked.
const MOST: u32 = 64;

/// Reads GPUs, seldom.
pub struct GpuReader {
    found: Found,
    last: Gpus,
    at: Option<Instant>,
}

enum Found {
    None,
    Unknown(String),
    Nvml(Box<Nvml>),
}

impl fmt::Debug for GpuReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuReader")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl GpuReader {
    /// Looks for the library where the system has it.
    #[must_use]
    pub fn find() -> GpuReader {
        GpuReader::of(Nvml::init())
    }

    /// The library in this file.
    #[must_use]
    pub fn at(library: &OsStr) -> GpuReader {
        GpuReader::of(Nvml::builder().lib_path(library).init())
    }

    /// Sees none.
    #[must_use]
    pub fn none() -> GpuReader {
        GpuReader::with(Found::None)
    }

    fn of(nvml: Result<Nvml, NvmlError>) -> GpuReader {
        GpuReader::with(match nvml {
            Ok(nvml) => Found::Nvml(Box::new(nvml)),
            // No library, or a driver that is not loaded: there is no GPU of this kind to be seen.
            Err(NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded) => Found::None,
            Err(error) => Found::Unknown(format!("NVML does not start: {error}")),
        })
    }

    fn with(found: Found) -> GpuReader {
        GpuReader {
            found,
            last: Gpus::NoneSeen,
            at: None,
        }
    }

    /// What there is, as seen less than a second ago. `own` are the workload's processes.
    pub fn look(&mut self, own: &[u32], now: Instant) -> Gpus {
        let nvml = match &self.found {
            Found::None => return Gpus::NoneSeen,
            Found::Unknown(why) => return Gpus::Unknown(why.clone()),
            Found::Nvml(nvml) => nvml,
        };
        if self.at.is_none_or(|at| now.duration_since(at) >= EVERY) {
            self.last = all(nvml, own);
            self.at = Some(now);
        }
        self.last.clone()
    }
}

fn all(nvml: &Nvml, own: &[u32]) -> Gpus {
    let count = match nvml.device_count() {
        Ok(0) => return Gpus::NoneSeen,
        Ok(count) => count.min(MOST),
        Err(error) => return Gpus::Unknown(format!("NVML does not tell how many GPUs: {error}")),
    };
    let mut seen = Vec::new();
    for index in 0..count {
        match nvml.device_by_index(index) {
            Ok(device) => seen.push(one(index, &device, own)),
            Err(error) => {
                return Gpus::Unknown(format!("NVML does not tell of GPU {index}: {error}"));
            }
        }
    }
    Gpus::Seen(seen)
}

fn one(index: u32, device: &Device<'_>, own: &[u32]) -> GpuSample {
    let busy = device.utilization_rates().ok();
    GpuSample {
        index,
        model: device.name().unwrap_or_else(|_| "unknown".to_owned()),
        used: device.memory_info().ok().map(|m| Bytes(m.used)),
        own: own_memory(device, own),
        busy: busy.map(|rates| Permille(rates.gpu.saturating_mul(10))),
    }
}

/// Unknown if it is for one of them.
fn own_memory(device: &Device<'_>, own: &[u32]) -> Option<Bytes> {
    let all = device.running_compute_processes().ok()?;
    let mut sum = 0_u64;
    for process in all.iter().filter(|p| own.contains(&p.pid)) {
        match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => sum = sum.saturating_add(bytes),
            UsedGpuMemory::Unavailable => return None,
        }
    }
    Some(Bytes(sum))
}
