//! The pages about command lines: what the long-running programs are started with, and what can be typed.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

/// Every command of the sidecar, the control plane and the injector, with all its settings.
pub(crate) fn settings() -> String {
    let mut page = format!("{}\n# Settings\n\n{SETTINGS}\n", crate::GENERATED);
    for mut command in [
        outrigger_sidecar::Args::command(),
        outrigger_control_plane::Args::command(),
        outrigger_injector::Args::command(),
    ] {
        command.build();
        describe(&mut page, &command, 2);
    }
    page
}

/// Every command of `outrigger` that is for people.
pub(crate) fn commands() -> String {
    let mut page = format!("{}\n# Command line\n\n{COMMANDS}\n", crate::GENERATED);
    let mut command = outrigger_cli::args::Args::command();
    command.build();
    describe(&mut page, &command, 2);
    page
}

const SETTINGS: &str = "\
These are fixed for the life of a process. Everything that may change while it runs comes from the control plane, and \
there from the objects. Each setting can be given as an option or as an environment variable; the option wins.

The commands of `outrigger sidecar` and `outrigger control-plane` are the same programs with the same settings.";

const COMMANDS: &str = "\
What a command finds goes to stdout, all else to stderr. It ends with 0 when the answer is yes, 1 when it is no, 2 when \
it was called wrongly or could not find out, and 3 when waiting took too long.";

fn describe(page: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n{} {name}\n\n{}\n", "#".repeat(level), sentence(&about));
    let is_root = level == 2;
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| is_setting(argument) && (is_root || !argument.is_global_set()))
        .collect();
    if !arguments.is_empty() {
        page.push_str("\n| Option | Environment | Default | |\n|---|---|---|---|\n");
        for argument in arguments {
            row(page, argument);
        }
    }
    for subcommand in command.get_subcommands() {
        if !subcommand.is_hide_set() && subcommand.get_name() != "help" {
            describe(page, subcommand, level + 1);
        }
    }
}

/// Not what clap adds to every command.
fn is_setting(argument: &Arg) -> bool {
    !argument.is_hide_set()
        && !matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
}

fn row(page: &mut String, argument: &Arg) {
    let value = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let option = match argument.get_long() {
        Some(long) if takes_value => format!("`--{long} {value}`"),
        Some(long) => format!("`--{long}`"),
        None => format!("`{value}`"),
    };
    let environment = argument.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| format!("`{}`", value.display()))
        .collect();
    let default = match (defaults.is_empty(), argument.is_required_set(), takes_value) {
        (false, _, true) => defaults.join(", "),
        (_, true, _) => "required".to_owned(),
        _ => String::new(),
    };
    let mut help = sentence(&argument.get_help().map(ToString::to_string).unwrap_or_default());
    let possible: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes_value && !possible.is_empty() {
        let _ = write!(help, " One of {}.", possible.join(", "));
    }
    let _ = writeln!(page, "| {option} | {environment} | {default} | {} |", help.replace('|', "\\|"));
}

/// Help texts end without a full stop where clap's style has none; on a page they are sentences.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
