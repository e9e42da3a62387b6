//! `cargo xtask attack`: the attacks of `outrigger_tests::attack` against the mesh and against other proxies on the same inputs. Each writes
//! a page of `docs/security`.

mod desync;
mod figures;
mod floods;
mod slow;
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use outrigger_sandbox::{Sandbox, SandboxError};
use outrigger_tests::attack::origin::Make;
use outrigger_tests::{binary, peers};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(attack), Some(page)) = (args.next(), args.next().map(PathBuf::from)) else {
        eprintln!("usage: attack desync|floods|slow-clients|websocket PAGE");
        return ExitCode::from(2);
    };
    match Sandbox::enter() {
        Ok(sandbox) => {
            let text = match attack.to_str() {
                Some("desync") => desync::measure(sandbox),
                Some("floods") => floods::measure(sandbox),
                Some("slow-clients") => slow::measure(sandbox),
                Some("websocket") => websocket::measure(sandbox),
                _ => {
                    eprintln!("error: no attack is called {}", attack.display());
                    return ExitCode::from(2);
                }
            };
            std::fs::write(&page, text).expect("the page can be written");
            ExitCode::SUCCESS
        }
        Err(SandboxError::Outside) => again_inside(&[attack, page.into_os_string()]),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again in a sandbox, where no network is.
fn again_inside(args: &[std::ffi::OsString]) -> ExitCode {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1));
    let origins = Make::ALL.into_iter().filter_map(|make| make.command(1));
    for command in origins.chain([peers::websocket::server(listen)]) {
        if let Err(error) = command {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    let this = std::env::current_exe().expect("a program has a file");
    let status = Sandbox::command(&binary(), this).args(args).status().expect("the sandbox starts");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
