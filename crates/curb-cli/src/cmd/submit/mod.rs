//! `curb submit`: Ray's own submission, with what the job needs in its metadata.

mod follow;

use std::path::Path;

use bytes::Bytes;
use curb_api::client::{Client, TokenText};
use curb_api::metadata::{self, SubmitBody};
use curb_api::{JobState, JobView};
use curb_ray::{PackageProtocol, RayClient, RayConfig, RequestBody, Secret};
use serde_json::{Map, Value, json};

use crate::args::SubmitArgs;
use crate::ctx::{self, Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::pack::pack;

/// `curb submit ... -- CMD`
pub fn run(args: &SubmitArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let ray = ray_client(&client, ctx::token(&args.remote)?)?;
    let mut body = body(args)?;
    block(async {
        if let Some(dir) = &args.working_dir {
            let uri = working_dir(dir, &ray, ctx).await?;
            body.runtime_env
                .get_or_insert_default()
                .insert("working_dir".to_owned(), Value::String(uri));
        }
        let id = client.submit(&body).await?.submission_id;
        // With `refusal: job` a refusal looks like a job that was taken. That the look fails says nothing of the job.
        let seen = client.job(&id).await.ok();
        if let Some(job) = seen.as_ref().filter(|job| job.was_refused()) {
            return refused(job, args.json.json, ctx);
        }
        if args.no_wait {
            return told(&id, seen.as_ref(), args.json.json, ctx);
        }
        ctx.say(&format!(
            "job {id} is submitted to {}",
            args.remote.address()
        ));
        follow::Follow {
            client: &client,
            ray: &ray,
            id: &id,
            json: args.json.json,
        }
        .run(ctx)
        .await
    })
}

/// A refusal that the policy has told as a job.
fn refused(job: &JobView, json: bool, ctx: &mut Ctx) -> Done {
    if json {
        ctx.json(job)?;
    }
    let told = job.message.trim_end();
    let told = told.strip_prefix("curb: ").unwrap_or(told).to_owned();
    let id = &job.id;
    Err(Failure::new(Exit::Refused, told).help(format!("it is kept as job {id}, which failed")))
}

/// What was submitted, and how it stands if that could be seen: one that waits says for what.
fn told(id: &str, seen: Option<&JobView>, json: bool, ctx: &mut Ctx) -> Done {
    if json {
        let mut all = json!({"submission_id": id});
        if let Some(job) = seen {
            all["state"] = json!(job.state);
            all["message"] = json!(job.message);
        }
        ctx.json(&all)?;
    } else {
        ctx.print(&format!("{id}\n"))?;
        if let Some(job) = seen.filter(|job| job.state == JobState::Queued) {
            ctx.say(job.message.trim_end());
        }
        ctx.say(&format!(
            "watch it: curb jobs show {id}; stop it: curb jobs stop {id}"
        ));
    }
    Ok(Exit::Ok)
}

/// The gateway speaks Ray's API, so packages and logs go over Ray's client, at the server's address with the user's
/// token.
fn ray_client(client: &Client, token: Option<TokenText>) -> Result<RayClient, Failure> {
    let base = client.config().base()?;
    let base = base
        .parse()
        .map_err(|_| Failure::usage(format!("`{base}` is not an address")))?;
    let mut config = RayConfig::new(base);
    config.token = token.map(|t| Secret::new(t.expose()));
    RayClient::new(config).map_err(|error| Failure::usage(error.to_string()))
}

fn body(args: &SubmitArgs) -> Result<SubmitBody, Failure> {
    let mut body = SubmitBody {
        entrypoint: Some(entrypoint(&args.command)),
        submission_id: args.id.clone(),
        metadata: args.ask.metadata(),
        ..SubmitBody::default()
    };
    if let Some(key) = &args.key {
        body.metadata.insert(metadata::KEY.to_owned(), key.clone());
    }
    if !args.env.is_empty() {
        let mut variables = Map::new();
        for (name, value) in &args.env {
            let value = Value::String(value.clone());
            if variables.insert(name.clone(), value).is_some() {
                return Err(Failure::usage(format!(
                    "the variable `{name}` is given twice (--env)"
                )));
            }
        }
        body.runtime_env = Some(Map::from_iter([(
            "env_vars".to_owned(),
            Value::Object(variables),
        )]));
    }
    Ok(body)
}

/// One word is a line for the shell as it is; several are quoted so that the shell sees them as they were given.
fn entrypoint(command: &[String]) -> String {
    match command {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|w| quoted(w))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b));
    if plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Packs and uploads, unless it is a URI or the package is there already.
async fn working_dir(dir: &str, ray: &RayClient, ctx: &mut Ctx) -> Result<String, Failure> {
    if dir.contains("://") {
        return Ok(dir.to_owned());
    }
    let package = pack(Path::new(dir)).map_err(|error| Failure::local(error.0))?;
    let size = format!(
        "{} files, {} KiB",
        package.files,
        package.bytes.len().div_ceil(1024)
    );
    if ray
        .package_exists(PackageProtocol::Gcs, &package.name)
        .await?
    {
        ctx.say(&format!("{dir} ({size}) is there already"));
    } else {
        ctx.say(&format!("uploading {dir} ({size})"));
        ray.put_package(
            PackageProtocol::Gcs,
            &package.name,
            RequestBody::whole(Bytes::from(package.bytes)),
        )
        .await?;
    }
    Ok(format!("gcs://{}", package.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_line_for_the_shell() {
        assert_eq!(
            entrypoint(&["python a.py && echo done".into()]),
            "python a.py && echo done"
        );
    }

    #[test]
    fn several_words_reach_the_program_as_they_were_given() {
        let words = ["python", "a b.py", "it's", "", "--x=1", "$HOME", "a;b"].map(str::to_owned);
        assert_eq!(
            entrypoint(&words),
            r"python 'a b.py' 'it'\''s' '' --x=1 '$HOME' 'a;b'"
        );
    }
}
