//! The `vestibule` binary: hands over to the library and says how it ended.

use std::process::ExitCode;

use vestibule::commands;

/// The static binary's: musl's own allocator costs a quarter of the throughput.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::execute(std::env::args_os()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            commands::report(&failure);
            failure.exit().into()
        }
    }
}
