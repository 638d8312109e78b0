//! Every help page, as an 80-column terminal shows it.

fn each(command: &mut clap::Command, name: &str) {
    let page = command.render_long_help().to_string();
    for line in page.lines().filter(|l| !l.starts_with("Usage:")) {
        assert!(line.chars().count() <= 80, "{name}: {line}");
    }
    insta::assert_snapshot!(name.replace(' ', "-"), page);
    let subs: Vec<String> = command
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    for sub in subs {
        let path = format!("{name} {sub}");
        each(
            command.find_subcommand_mut(&sub).expect("it was listed"),
            &path,
        );
    }
}

#[test]
fn every_help_page_is_as_it_was_written() {
    let mut command = curb_cli::command().term_width(80);
    command.build();
    each(&mut command, "curb");
}

#[test]
fn the_command_line_is_consistent() {
    curb_cli::command().debug_assert();
}

#[test]
fn the_exit_codes_are_as_they_were_promised() {
    insta::assert_snapshot!(curb_cli::exit::text());
}

#[test]
fn every_reason_has_a_page_and_a_line() {
    for code in curb_core::decide::Code::ALL {
        let page = curb_server::reason_page(code.as_str()).unwrap_or_default();
        assert!(page.contains(code.as_str()), "{code}");
    }
    insta::assert_snapshot!(curb_cli::cmd::docs::reasons());
}
