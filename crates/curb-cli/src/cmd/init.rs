//! `curb init`: look at a cluster, write a policy for it that refuses nothing yet.

use std::io::Write;
use std::path::Path;

use curb_core::amount::Amount;
use curb_core::resource::{Resource, Resources};
use curb_ray::{ClusterTotals, JobDetails, RayClient, RayConfig, RayError, Secret};
use serde_json::json;

use crate::args::InitArgs;
use crate::cmd::journal::create_new;
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::term::clean_line;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Ray's version.
    pub ray: String,
    /// Living nodes.
    pub nodes: usize,
    /// What they have in all.
    pub has: Resources,
    /// Whether Ray told of all nodes.
    pub complete: bool,
    /// Jobs that are not over.
    pub open_jobs: usize,
}

/// `curb init ...`
pub fn run(args: &InitArgs, ctx: &mut Ctx) -> Done {
    let schema = args.out.with_file_name("curb.schema.json");
    if args.out.exists() {
        return Err(
            Failure::local(format!("{} is there already", args.out.display())).help(
                "nothing is overwritten: name another file with --out, or move this one away",
            ),
        );
    }
    let found = block(look(&args.ray))?;
    write(&args.out, &policy(&found, &args.ray))?;
    let with_schema = write_schema(&schema)?;
    let out = args.out.display();
    if args.json.json {
        ctx.json(&json!({
            "policy": args.out,
            "schema": schema,
            "mode": "observe",
            "ray_version": found.ray,
            "nodes": found.nodes,
            "all_nodes_told": found.complete,
            "has": found.has,
            "open_jobs": found.open_jobs,
        }))?;
        return Ok(Exit::Ok);
    }
    ctx.say(&summary(&found, &args.ray));
    ctx.say(&format!(
        "wrote {out} (observe mode: nothing is refused){with_schema}"
    ));
    ctx.say("next:");
    ctx.say(&format!("  curb policy check {out}"));
    ctx.say("  export CURB_TOKEN=$(curb token create --user $USER --role admin --data curb-data)");
    ctx.say(&format!(
        "  curb serve --policy {out} --ray {} --data curb-data",
        clean_line(&args.ray)
    ));
    ctx.say("  curb enforce --preview      # after some days: what would have been refused");
    Ok(Exit::Ok)
}

async fn look(address: &str) -> Result<Found, Failure> {
    let bad = || {
        Failure::usage(format!("`{address}` is not the address of a Ray dashboard"))
            .help("write http://HOST:8265")
    };
    let base = address.trim_end_matches('/').parse().map_err(|_| bad())?;
    let mut config = RayConfig::new(base);
    config.token = std::env::var("CURB_RAY_TOKEN")
        .ok()
        .filter(|t| !t.is_empty())
        .map(Secret::new);
    let ray = RayClient::new(config).map_err(|error| Failure::usage(error.to_string()))?;
    let help = |failure: Failure| {
        failure.help(format!("is {address} the dashboard of a running Ray (port 8265)? Its token, if it has one, goes into CURB_RAY_TOKEN"))
    };
    let version = ray.version().await.map_err(|e| match e {
        RayError::NotFound { .. } => help(Failure::new(
            Exit::Other,
            format!("what answers at {address} is no Ray dashboard: it has no /api/version"),
        )),
        other => help(other.into()),
    })?;
    let cluster = ray.nodes().await.map_err(|e| help(e.into()))?;
    let jobs = ray.list().await.map_err(|e| help(e.into()))?;
    let totals = cluster.totals();
    Ok(Found {
        ray: version.ray_version,
        nodes: totals.nodes,
        has: resources(&totals),
        complete: cluster.complete,
        open_jobs: jobs.iter().filter(|j| is_open(j)).count(),
    })
}

fn is_open(job: &JobDetails) -> bool {
    !job.status.is_terminal()
}

fn resources(totals: &ClusterTotals) -> Resources {
    let mut all = Resources::none();
    all.set(Resource::Cpu, Amount(totals.cpu.0));
    all.set(Resource::Memory, Amount(totals.memory_bytes));
    all.set(Resource::Gpu, Amount(totals.gpu.0));
    let models = totals
        .gpu_by_model
        .iter()
        .map(|(model, n)| (format!("gpu:{model}"), n));
    // Ray's own marks of nodes with an accelerator say nothing that the models above do not.
    let custom = totals.custom.iter();
    let custom = custom
        .filter(|(name, _)| !name.starts_with("accelerator_type:"))
        .map(|(name, n)| (name.clone(), n));
    for (name, amount) in models.chain(custom) {
        // A name that a policy cannot say is left out: the cluster's own limit on it stays.
        if let Ok(resource) = Resource::parse(&name) {
            all.set(resource, Amount(amount.0));
        }
    }
    all
}

fn summary(found: &Found, address: &str) -> String {
    let nodes = if found.nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{} nodes", found.nodes)
    };
    let part = if found.complete {
        ""
    } else {
        " (Ray did not tell of all nodes)"
    };
    format!(
        "found Ray {} at {}: {nodes}{part} with {}; {} open jobs",
        clean_line(&found.ray),
        clean_line(address),
        found.has,
        found.open_jobs
    )
}

/// The policy: valid as it is, with suggestions in comments that have the cluster's real numbers.
#[must_use]
pub fn policy(found: &Found, address: &str) -> String {
    let amount = |resource: &Resource, part: u64| {
        let whole = found.has.get(resource).0;
        let amount = match resource {
            Resource::Memory => Amount((whole / part) >> 30 << 30),
            _ => Amount((whole / part / 1000).max(1) * 1000),
        };
        resource.show(amount).to_string().replace(' ', "")
    };
    let limits = |part: u64| {
        let named = [Resource::Cpu, Resource::Memory, Resource::Gpu];
        let said: Vec<_> = named
            .iter()
            .filter(|r| found.has.get(r).0 > 0)
            .map(|r| format!("{r}: {}", amount(r, part)))
            .collect();
        format!("{{{}}}", said.join(", "))
    };
    let (ray, address) = (clean_line(&found.ray), clean_line(address));
    let (has, half, quarter) = (&found.has, limits(2), limits(4));
    format!(
        r#"# yaml-language-server: $schema=./curb.schema.json
#
# A policy for the Ray {ray} at {address}, which has {has}
# on {nodes} node(s). Nothing is refused yet: `mode: observe` lets every job pass and records what would have been
# refused or made to wait. See it with `curb enforce --preview`, check this file with `curb policy check`.

version: 1
mode: observe

# A suggestion is a line with `#` and no space after it: take the `#` away, and only that, to have it.

# What the cluster has is asked of Ray again and again. To fix it instead:
#capacity: {all}

# What a job is taken to ask for that says nothing. Ray itself starts a job's driver with nothing reserved.
default_request: {{cpu: 1}}

# Who belongs where. A user need not be listed: a token makes one.
#teams:
  #vision: {{org: research, members: [ana, li]}}
  #serving: {{org: product, members: [kim]}}

# Kinds of jobs.
#job_types:
  #training: {{default_request: {{cpu: 4, duration: 4h}}, allowed: {{org: research}}}}
  #inference: {{default_request: {{cpu: 1}}, priority: 5}}

quotas:
  # Each user: at most half of the cluster at once; the rest of their jobs waits.
  - name: each-user
    for: {{user: "*"}}
    limits: {half}
    above: queue

  # Each team: a quarter, and more while nobody else wants it.
  #- name: each-team
    #for: {{team: "*"}}
    #limits: {quarter}
    #borrow: {quarter}

  # The longest that a job may declare.
  #- name: no-endless-jobs
    #for: everybody
    #per_job: {{duration: 7d}}

  # A budget: so much in a month, whoever spends it first.
  #- name: month
    #for: {{team: "*"}}
    #budget: {{cpu_hours: 5000, per: month}}
"#,
        nodes = found.nodes,
        all = limits(1),
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = create_new(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| Failure::local(format!("cannot write {}: {error}", path.display())))
}

/// The schema for editors; one that is there is left alone.
fn write_schema(path: &Path) -> Result<String, Failure> {
    if path.exists() {
        return Ok(format!("; {} was there already", path.display()));
    }
    write(path, &format!("{:#}\n", curb_core::policy::schema()))?;
    Ok(format!(" and {} for editors", path.display()))
}

#[cfg(test)]
mod tests {
    use curb_core::policy::{Mode, Policy};

    use super::*;

    fn found(has: &[(&str, u64)]) -> Found {
        let has = has
            .iter()
            .map(|(name, n)| (Resource::parse(name).expect("a name"), Amount(*n)))
            .collect();
        Found {
            ray: "2.60.0".into(),
            nodes: 4,
            has,
            complete: true,
            open_jobs: 3,
        }
    }

    /// As the file says: a `#` without a space after it is taken away, and nothing else.
    fn uncommented(line: &str) -> String {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            Some(said) if !said.starts_with(' ') => format!("{indent}{said}"),
            _ => line.to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_a_policy_that_refuses_nothing() {
        for has in [
            &[("cpu", 4000), ("memory", 10 << 30)][..],
            &[
                ("cpu", 256_000),
                ("memory", 1 << 41),
                ("gpu", 32_000),
                ("gpu:A100", 24_000),
            ],
            &[("cpu", 500)],
        ] {
            let text = policy(&found(has), "http://127.0.0.1:8265");
            let parsed = Policy::parse("curb.yaml", &text)
                .unwrap_or_else(|e| panic!("{}\n{text}", e[0].render()));
            assert_eq!(parsed.policy.mode, Mode::Audit);
            assert_eq!(parsed.warnings, []);
            assert_eq!(parsed.policy.quotas.len(), 1);
        }
    }

    #[test]
    fn the_suggestions_are_valid_as_well_once_they_are_uncommented() {
        let text = policy(
            &found(&[("cpu", 256_000), ("memory", 1 << 41), ("gpu", 32_000)]),
            "http://ray:8265",
        );
        let said: Vec<_> = text.lines().map(uncommented).collect();
        let said = said.join("\n");
        let parsed = Policy::parse("curb.yaml", &said)
            .unwrap_or_else(|e| panic!("{}\n{said}", e[0].render()));
        assert_eq!(parsed.warnings, [], "{said}");
        assert_eq!(
            (
                parsed.policy.teams.len(),
                parsed.policy.job_types.len(),
                parsed.policy.quotas.len()
            ),
            (2, 2, 4)
        );
    }

    #[test]
    fn a_hostile_version_cannot_add_a_line_to_the_policy() {
        let mut hostile = found(&[("cpu", 4000)]);
        hostile.ray = "2\nmode: enforce\n#".into();
        let text = policy(&hostile, "http://x:1");
        let parsed = Policy::parse("curb.yaml", &text).expect("a policy");
        assert_eq!(parsed.policy.mode, Mode::Audit);
    }
}
