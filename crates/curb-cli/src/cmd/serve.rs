//! `curb serve`

use curb_server::{Config, ConfigError, Flags, LoadError, ServeError};

use crate::args::ServeArgs;
use crate::cmd::token::open_failure;
use crate::exit::Exit;
use crate::fail::{Done, Failure};

/// `curb serve ...`
pub fn run(args: &ServeArgs) -> Done {
    let flags = Flags {
        config: args.config.clone(),
        listen: args.listen.clone(),
        data: args.data.clone(),
        policy: args.policy.clone(),
        ray: args.ray.clone(),
        gcs: args.gcs.clone(),
        start_rate: args.start_rate,
        dashboard_listen: args.dashboard_listen.clone(),
        hosts: args.hosts.clone(),
        log: args.log.clone(),
    };
    let config =
        Config::resolve(&flags, |name| std::env::var(name).ok()).map_err(not_configured)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start the event loop: {error}")))?;
    runtime
        .block_on(curb_server::run(config))
        .map_err(not_started)?;
    Ok(Exit::Ok)
}

/// What a flag or the environment says wrong is a wrong command line; what a file says wrong is a wrong
/// configuration, as is a file that is not there, whoever names it.
fn not_configured(error: ConfigError) -> Failure {
    let exit = match &error {
        ConfigError::Value { from, .. } if is_typed(from) => Exit::Usage,
        _ => Exit::Local,
    };
    Failure::new(exit, error.to_string()).help("curb help serve, and docs/configuration.md")
}

/// Whether a value comes of a flag or of a variable, and not of a file, which may have any name.
fn is_typed(from: &str) -> bool {
    let variable = |rest: &str| rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    from.starts_with("--") || from.strip_prefix("CURB_").is_some_and(variable)
}

fn not_started(error: ServeError) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    match error {
        ServeError::Journal(error) | ServeError::Load(LoadError::Open(error)) => {
            let mut failure = open_failure(error);
            // What helps the maker of a token does not help a second server.
            failure.help = None;
            failure
        }
        ServeError::Load(_) => Failure::new(Exit::Journal, text),
        _ => Failure::local(text),
    }
}
