//! The binary's edge: the only place that reads the arguments, starts the runtime, and turns an
//! outcome into an exit code. Everything else is in the library.

use std::process::ExitCode;

/// Gives freed memory back to the system soon, so that an hour of overload is not seen for days.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sluicegate_gateway::cli::main()
}
