//! The server alone, without the command line around it: what the crash tests start and kill.
//!
//! `curb-serve --ray URL --listen ADDR --data DIR [--policy FILE] [--start-rate N]`; the environment counts as usual.

use std::process::ExitCode;

use curb_server::{Config, Flags};

fn flags() -> Result<Flags, String> {
    let mut flags = Flags::default();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--config" => flags.config = Some(value.into()),
            "--ray" => flags.ray = Some(value),
            "--listen" => flags.listen = Some(value),
            "--data" => flags.data = Some(value.into()),
            "--policy" => flags.policy = Some(value.into()),
            "--dashboard-listen" => flags.dashboard_listen = Some(value),
            "--start-rate" => {
                flags.start_rate = Some(value.parse().map_err(|_| format!("{value} is no number"))?)
            }
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(flags)
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = flags().and_then(|flags| {
        Config::resolve(&flags, |name| std::env::var(name).ok()).map_err(|e| e.to_string())
    });
    let outcome = match config {
        Ok(config) => curb_server::run(config).await.map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("curb: {error}");
            ExitCode::FAILURE
        }
    }
}
