//! Help, completions, man pages, the API's description.

use std::path::Path;

use clap_complete::Shell;

use crate::args::{CompletionsArgs, HelpArgs, ManArgs};
use crate::ctx::Ctx;
use crate::exit::{self, Exit};
use crate::fail::{Done, Failure};

/// `curb help [COMMAND...]`
pub fn help(args: &HelpArgs, ctx: &mut Ctx) -> Done {
    if args.topic.len() == 1 && args.topic[0] == "exit-codes" {
        ctx.print(&exit::text())?;
        return Ok(Exit::Ok);
    }
    let mut command = crate::command();
    command.build();
    let mut at = &mut command;
    for name in &args.topic {
        let path = at.get_bin_name().unwrap_or("curb").to_owned();
        at = at.find_subcommand_mut(name).ok_or_else(|| {
            Failure::usage(format!("there is no command `{path} {name}`"))
                .help("curb help lists the commands; another topic is exit-codes")
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
    (Shell::Zsh, "_curb"),
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
