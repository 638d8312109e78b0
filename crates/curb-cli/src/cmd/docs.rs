//! Help, completions, man pages, the API's description.

use std::path::Path;

use clap_complete::Shell;

use crate::args::{CompletionsArgs, HelpArgs, ManArgs};
use crate::ctx::Ctx;
use crate::exit::{self, Exit};
use crate::fail::{Done, Failure};
use crate::term::wrap_indented;

/// `curb help [COMMAND...]`
pub fn help(args: &HelpArgs, ctx: &mut Ctx) -> Done {
    match args.topic.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exit-codes"] => {
            ctx.print(&exit::text())?;
            return Ok(Exit::Ok);
        }
        ["reason" | "reasons"] => {
            ctx.print(&reasons())?;
            return Ok(Exit::Ok);
        }
        ["reason" | "reasons", code] => {
            let page = curb_server::reason_page(code).ok_or_else(|| {
                Failure::usage(format!("there is no reason `{code}`"))
                    .help("curb help reason lists them")
            })?;
            ctx.print(page)?;
            return Ok(Exit::Ok);
        }
        _ => {}
    }
    let mut command = crate::command();
    command.build();
    let mut at = &mut command;
    for name in &args.topic {
        let path = at.get_bin_name().unwrap_or("curb").to_owned();
        at = at.find_subcommand_mut(name).ok_or_else(|| {
            Failure::usage(format!("there is no command `{path} {name}`"))
                .help("curb help lists the commands; other topics are exit-codes and reason")
        })?;
    }
    let text = at.render_long_help();
    let text = if ctx.view.color {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    ctx.print(&text)?;
    Ok(Exit::Ok)
}

/// The reason codes with the titles of their pages.
#[must_use]
pub fn reasons() -> String {
    let mut text =
        String::from("Why a job waits or is refused; the page of one: curb help reason CODE\n\n");
    for code in curb_core::decide::Code::ALL {
        let page = curb_server::reason_page(code.as_str()).unwrap_or_default();
        let said = page
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('#'));
        text.push_str(&wrap_indented(
            &format!("  {:<18}", code.as_str()),
            said.unwrap_or_default(),
            80,
        ));
    }
    text
}

/// `curb completions SHELL`
pub fn completions(args: &CompletionsArgs, ctx: &mut Ctx) -> Done {
    ctx.raw(&completion(args.shell))?;
    Ok(Exit::Ok)
}

/// The completions for one shell.
#[must_use]
pub fn completion(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut crate::command(), "curb", &mut out);
    out
}

/// The shells whose completions are kept with the code, with the names of their files.
pub const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "curb.bash"),
    (Shell::Zsh, "curb.zsh"),
    (Shell::Fish, "curb.fish"),
];

/// `curb man DIR`
pub fn man(args: &ManArgs, ctx: &mut Ctx) -> Done {
    let fail = |path: &Path, error: std::io::Error| {
        Failure::local(format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(&args.dir).map_err(|e| fail(&args.dir, e))?;
    let pages = man_pages().map_err(|e| fail(&args.dir, e))?;
    for (name, page) in &pages {
        let path = args.dir.join(name);
        std::fs::write(&path, page).map_err(|e| fail(&path, e))?;
    }
    ctx.say(&format!(
        "wrote {} pages to {}",
        pages.len(),
        args.dir.display()
    ));
    Ok(Exit::Ok)
}

/// All man pages with the names of their files.
pub fn man_pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = crate::command();
    command.build();
    let mut pages = Vec::new();
    page(&command, "curb", &mut pages)?;
    Ok(pages)
}

fn page(
    command: &clap::Command,
    name: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> std::io::Result<()> {
    let mut out = Vec::new();
    // clap wants a name that lives as long as the program; there are a few dozen.
    let titled = command
        .clone()
        .name(name.to_owned().leak() as &'static str)
        .disable_help_flag(true);
    clap_mangen::Man::new(titled)
        .source(concat!("curb ", env!("CARGO_PKG_VERSION")))
        .render(&mut out)?;
    pages.push((format!("{name}.1"), out));
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        page(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

/// `curb openapi`
pub fn openapi(ctx: &mut Ctx) -> Done {
    ctx.raw(curb_api::openapi::text().as_bytes())?;
    Ok(Exit::Ok)
}
