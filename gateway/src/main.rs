//! The binary's edge: the only place that reads the arguments, starts the runtime, and turns an
//! outcome into an exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluicegate_gateway::cli::main()
}
