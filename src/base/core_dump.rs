//! A core dump would hold every key and token that the process has in memory.

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};

/// Keeps the process's memory out of files and out of other processes' sight: no core dump, and
/// nobody but root may trace it or read its environment (proc(5)). The limit alone does not stop
/// dumps that the kernel pipes to a program, as systemd has it (core(5)).
///
/// # Errors
/// The system refuses, which lowering a limit gives no reason for.
pub fn forbid() -> Result<(), Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
