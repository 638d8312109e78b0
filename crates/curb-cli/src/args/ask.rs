//! What a job asks for, and how that becomes metadata.

use std::collections::BTreeMap;

use clap::Args;
use curb_api::metadata as keys;
use curb_core::amount::{Amount, Unit};
use curb_core::resource::Resource;
use curb_core::subject::check_name;
use curb_core::time::Millis;

/// What a job asks for. What is not said comes from the policy's defaults.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What the job needs, in all")]
pub struct AskArgs {
    /// CPUs: 2, 0.5 or 500m
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = count)]
    pub cpu: Option<String>,
    /// GPUs, of one model if named: 2 or H100:2
    #[arg(long, allow_negative_numbers = true, value_name = "[MODEL:]N", value_parser = gpu)]
    pub gpu: Option<String>,
    /// Memory: 16GiB, 512MiB
    #[arg(long, allow_negative_numbers = true, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<String>,
    /// A custom resource of the cluster; may be repeated
    #[arg(long, value_name = "NAME=N", value_parser = resource)]
    pub resource: Vec<(String, String)>,
    /// How long it may run: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub duration: Option<String>,
    /// Higher goes first, as far as the job type allows
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = priority)]
    pub priority: Option<i32>,
    /// What kind of job it is
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub job_type: Option<String>,
    /// Which of your teams it is charged to
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub team: Option<String>,
    /// Which cluster it runs on
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub cluster: Option<String>,
}

impl AskArgs {
    /// The metadata that says the same.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let resources: Vec<_> = self
            .resource
            .iter()
            .map(|(name, n)| format!("{name}={n}"))
            .collect();
        let said = [
            (keys::CPU, self.cpu.clone()),
            (keys::GPU, self.gpu.clone()),
            (keys::MEMORY, self.memory.clone()),
            (
                keys::RESOURCES,
                (!resources.is_empty()).then(|| resources.join(",")),
            ),
            (keys::DURATION, self.duration.clone()),
            (keys::PRIORITY, self.priority.map(|p| p.to_string())),
            (keys::JOB_TYPE, self.job_type.clone()),
            (keys::TEAM, self.team.clone()),
            (keys::CLUSTER, self.cluster.clone()),
        ];
        said.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }
}

// The server reads these again; they are read here so that a slip of the finger is told before anything is sent.

fn count(text: &str) -> Result<String, String> {
    Amount::parse_count(text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

fn memory(text: &str) -> Result<String, String> {
    Amount::parse_declared(Unit::Bytes, text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

fn gpu(text: &str) -> Result<String, String> {
    let number = match text.rsplit_once(':') {
        Some((model, number)) => {
            Resource::parse(&format!("gpu:{model}")).map_err(|e| e.to_string())?;
            number
        }
        None => text,
    };
    count(number).map(|_| text.to_owned())
}

fn resource(text: &str) -> Result<(String, String), String> {
    let (name, number) = text
        .split_once('=')
        .ok_or("write NAME=N, such as licence=1")?;
    match Resource::parse(name).map_err(|e| e.to_string())? {
        Resource::Custom(_) => {}
        known => {
            return Err(format!(
                "`{known}` has a flag of its own: --{}",
                name.split(':').next().unwrap_or(name)
            ));
        }
    }
    count(number).map(|number| (name.to_owned(), number))
}

fn span(text: &str) -> Result<String, String> {
    match millis(text)? {
        Millis(0) => Err("a job of no duration cannot be: write how long it may run".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn priority(text: &str) -> Result<i32, String> {
    text.trim()
        .parse()
        .map_err(|_| "write a whole number such as 10 or -5; higher goes first".to_owned())
}

pub(super) fn millis(text: &str) -> Result<Millis, String> {
    Millis::parse(text).map_err(|e| e.to_string())
}

pub(super) fn name(text: &str) -> Result<String, String> {
    check_name(text)
        .map(|()| text.to_owned())
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_lands_in_its_key() {
        let ask = AskArgs {
            cpu: Some("500m".into()),
            gpu: Some("H100:2".into()),
            memory: Some("16GiB".into()),
            resource: vec![("a".into(), "1".into()), ("b".into(), "0.5".into())],
            duration: Some("2h".into()),
            priority: Some(-3),
            job_type: Some("training".into()),
            team: Some("vision".into()),
            cluster: Some("main".into()),
        };
        let metadata = ask.metadata();
        assert_eq!(metadata[keys::GPU], "H100:2");
        assert_eq!(metadata[keys::RESOURCES], "a=1,b=0.5");
        assert_eq!(metadata[keys::PRIORITY], "-3");
        assert_eq!(metadata.len(), 9);
        assert!(AskArgs::default().metadata().is_empty());
    }

    #[test]
    fn a_slip_is_told_with_the_right_form() {
        assert!(gpu("H100:lots").is_err_and(|e| e.contains("write a number")));
        assert!(gpu("H 100:2").is_err());
        assert!(resource("gpu=2").is_err_and(|e| e.contains("--gpu")));
        assert!(resource("ssd").is_err_and(|e| e.contains("NAME=N")));
        assert!(memory("16 gigs").is_err() && count("-1").is_err() && span("2 hours").is_err());
    }
}
