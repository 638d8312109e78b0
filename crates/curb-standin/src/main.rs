//! `ray-standin`: the stand-in as a process, for crash tests and benchmarks.

use clap::Parser;
use curb_standin::{JobTime, NodeSpec, Options, Standin};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A stand-in for Ray's Jobs API: it starts nothing, counts starts, and fails on request.
///
/// Prints `listening on ADDRESS` and serves until it is killed. Controls are under /standin/.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long jobs run: seconds, `never`, or `entrypoint` (the sum of its sleeps).
    #[arg(long, default_value = "entrypoint")]
    job_seconds: JobTime,
    /// How long a job is PENDING first, in ms.
    #[arg(long, default_value_t = 0)]
    pending_ms: u64,
    /// Added to the answer of each submission, in ms.
    #[arg(long, default_value_t = 0)]
    submit_ms: u64,
    /// Require this token as a bearer.
    #[arg(long)]
    token: Option<String>,
    /// Append each start as a line of JSON to this file, before it is answered.
    #[arg(long)]
    starts_file: Option<PathBuf>,
    /// Decides what chaos does to which request.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The nodes of the pretended cluster.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Logical CPUs of each node.
    #[arg(long, default_value_t = 4.0)]
    num_cpus: f64,
    /// Logical GPUs of each node.
    #[arg(long, default_value_t = 0.0)]
    num_gpus: f64,
    /// The model of the GPUs.
    #[arg(long)]
    gpu_model: Option<String>,
    /// Bytes of memory of each node.
    #[arg(long, default_value_t = 8_589_934_592.0)]
    memory: f64,
}

impl Args {
    fn options(self) -> Options {
        let mut node = NodeSpec::new([("CPU", self.num_cpus), ("memory", self.memory)]);
        if self.num_gpus > 0.0 {
            node.resources.insert("GPU".to_owned(), self.num_gpus);
        }
        if let Some(model) = self.gpu_model {
            node.resources
                .insert(format!("accelerator_type:{model}"), 1.0);
        }
        Options {
            listen: self.listen,
            job_time: self.job_seconds,
            pending: Duration::from_millis(self.pending_ms),
            submit_latency: Duration::from_millis(self.submit_ms),
            token: self.token,
            starts_file: self.starts_file,
            seed: self.seed,
            nodes: vec![node; self.nodes],
            ..Options::default()
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let listen = args.listen;
    match Standin::spawn(args.options()).and_then(|ray| {
        writeln!(std::io::stdout(), "listening on {}", ray.addr())?;
        std::io::stdout().flush()?;
        ray.wait()
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ray-standin: cannot serve at {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}
