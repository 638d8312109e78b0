//! `curb token`

use std::collections::BTreeMap;
use std::path::Path;

use curb_api::token::{self, RANDOM_BYTES};
use curb_api::{CreatedToken, NewToken, TokenView, Tokens};
use curb_core::ledger::{Event, Token};
use curb_core::subject::Role;
use curb_core::time::Timestamp;
use curb_journal::{Entry, Filter, Head, JOURNAL_FILE, Journal, OpenError, Reader};
use serde_json::json;

use crate::args::{TokenArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;

/// Who the journal says made a token that no server was asked for.
const BY: &str = "local";

/// `curb token ...`
pub fn run(args: &TokenArgs, ctx: &mut Ctx) -> Done {
    match &args.command {
        TokenCommand::Create(args) => create(args, ctx),
        TokenCommand::List(args) => list(args, ctx),
        TokenCommand::Revoke(args) => revoke(args, ctx),
    }
}

fn create(args: &TokenCreateArgs, ctx: &mut Ctx) -> Done {
    let mut labels = BTreeMap::new();
    for (key, value) in &args.label {
        if labels.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("the label `{key}` is given twice")));
        }
    }
    let role: Role = args.role.into();
    let user = match (&args.user, &args.node, role == Role::Agent) {
        (None, Some(node), true) => node.clone(),
        (Some(user), None, false) => user.clone(),
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "an agent's token is for a node, and every other for a user",
            )
            .help("curb token create --role agent --node NAME, or curb token create --user NAME"));
        }
    };
    let new = NewToken {
        user,
        role,
        expires_in: args.expires,
        labels,
    };
    let made = match &args.data {
        Some(dir) => create_in(dir, &new, ctx)?,
        None => {
            let client = ctx.client(&args.remote)?;
            block(async { Ok::<_, Failure>(client.create_token(&new).await?) })?
        }
    };
    if args.json.json {
        ctx.json(&made)?;
    } else {
        ctx.print(&format!("{}\n", made.token))?;
    }
    let until = args
        .expires
        .map_or(", valid until it is revoked".to_owned(), |span| {
            format!(", valid for {span}")
        });
    ctx.say(&format!(
        "token {} of {} ({}){until}. It cannot be shown again.",
        made.id, new.user, new.role
    ));
    Ok(Exit::Ok)
}

fn create_in(dir: &Path, new: &NewToken, ctx: &mut Ctx) -> Result<CreatedToken, Failure> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::local(format!("the system gives no random bytes: {error}")))?;
    let made = token::make(&random);
    let fresh = !dir.join(JOURNAL_FILE).exists();
    let (mut journal, now) = open(dir, ctx)?;
    let event = Event::TokenCreated(Token {
        id: made.id.clone(),
        hash: token::hash(&made.text),
        user: new.user.clone(),
        role: new.role,
        labels: new.labels.clone(),
        expires: new.expires_in.map(|span| now.after(span)),
        by: BY.to_owned(),
        created: now,
    });
    append(&mut journal, dir, now, &event)?;
    if fresh {
        ctx.say(&format!("made a new journal in {}", dir.display()));
    }
    Ok(CreatedToken {
        id: made.id,
        token: made.text,
    })
}

/// The journal for writing, and the time to write: never before its last record.
fn open(dir: &Path, ctx: &Ctx) -> Result<(Journal, Timestamp), Failure> {
    let journal = Journal::open(dir).map_err(open_failure)?;
    let now = Timestamp(ctx.view.now.0.max(journal.head().at_ms));
    Ok((journal, now))
}

/// Why a journal cannot be opened, with what to do.
pub fn open_failure(error: OpenError) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    match error {
        OpenError::Locked { .. } => {
            Failure::local(text).help("a server runs on it: leave --data out, and the server is asked (CURB_ADDRESS, CURB_TOKEN)")
        }
        OpenError::Damaged { .. } | OpenError::NotAJournal { .. } | OpenError::Storage { .. } => {
            Failure::new(Exit::Journal, text)
        }
        _ => Failure::local(text),
    }
}

fn append(
    journal: &mut Journal,
    dir: &Path,
    now: Timestamp,
    event: &Event,
) -> Result<Head, Failure> {
    let fail = |why: String| {
        Failure::local(format!(
            "cannot write the journal in {}: {why}",
            dir.display()
        ))
    };
    let payload = serde_json::to_vec(event).map_err(|error| fail(error.to_string()))?;
    journal
        .append(&[Entry::new(now.0, event.kind(), payload)])
        .map_err(|error| fail(error.to_string()))
}

fn list(args: &TokenListArgs, ctx: &mut Ctx) -> Done {
    let tokens = match &args.data {
        Some(dir) => Tokens {
            tokens: tokens_in(dir)?,
        },
        None => {
            let client = ctx.client(&args.remote)?;
            block(async { Ok::<_, Failure>(client.tokens().await?) })?
        }
    };
    if args.json.json {
        ctx.json(&tokens)?;
    } else if tokens.tokens.is_empty() {
        ctx.say("there are no tokens; make one: curb token create --user NAME");
    } else {
        let text = show::tokens(&tokens, &ctx.view);
        ctx.print(&text)?;
    }
    Ok(Exit::Ok)
}

/// Tokens that were made and not revoked, by the journal's own records.
fn tokens_in(dir: &Path) -> Result<Vec<TokenView>, Failure> {
    let reader = Reader::open(dir).map_err(open_failure)?;
    let filter = Filter {
        kinds: &["token_created", "token_revoked"],
        since_ms: None,
    };
    let mut tokens: Vec<TokenView> = Vec::new();
    let mut after = 0;
    loop {
        let records = reader.search(after, &filter, 1000).map_err(|error| {
            Failure::new(
                Exit::Journal,
                format!("cannot read the journal in {}: {error}", dir.display()),
            )
        })?;
        let Some(last) = records.last() else {
            return Ok(tokens);
        };
        after = last.seq;
        for record in &records {
            match serde_json::from_slice(&record.payload) {
                Ok(Event::TokenCreated(token)) => tokens.push(TokenView::from(&token)),
                Ok(Event::TokenRevoked { id, .. }) => tokens.retain(|t| t.id != id),
                _ => {
                    return Err(Failure::new(
                        Exit::Journal,
                        format!(
                            "record {} of the journal is not what its kind says",
                            record.seq
                        ),
                    )
                    .help("run `curb journal verify`"));
                }
            }
        }
    }
}

fn revoke(args: &TokenRevokeArgs, ctx: &mut Ctx) -> Done {
    match &args.data {
        Some(dir) => {
            // Holding the lock first: nobody revokes it in between.
            if !dir.join(JOURNAL_FILE).exists() {
                return Err(open_failure(OpenError::Missing { dir: dir.clone() }));
            }
            let (mut journal, now) = open(dir, ctx)?;
            let tokens = tokens_in(dir)?;
            if !tokens.iter().any(|t| t.id == args.id) {
                return Err(
                    Failure::new(Exit::Other, format!("there is no token {}", args.id))
                        .help("curb token list --data DIR"),
                );
            }
            if !args.force && curb_api::last_admin(tokens, &args.id, now) {
                return Err(Failure::new(
                    Exit::Other,
                    format!("token {} is the last one of an admin", args.id),
                )
                .help("make another one first, or revoke it all the same with --force"));
            }
            append(
                &mut journal,
                dir,
                now,
                &Event::TokenRevoked {
                    id: args.id.clone(),
                    by: BY.to_owned(),
                },
            )?;
        }
        None => {
            let client = ctx.client(&args.remote)?;
            block(async { Ok(client.revoke_token(&args.id, args.force).await?) })?;
        }
    }
    if args.json.json {
        ctx.json(&json!({"id": args.id, "revoked": true}))?;
    } else {
        ctx.say(&format!("token {} is revoked", args.id));
    }
    Ok(Exit::Ok)
}
