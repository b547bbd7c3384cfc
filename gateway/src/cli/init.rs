//! `sluicegate init`: a commented configuration and starter policies for your own pipeline. What
//! it writes passes its own checks, and runs.

use std::path::PathBuf;

use super::{
    Exit, eprint,
    generate::{self, GenerateError},
    print,
};
use crate::ambient::Ambient;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder to write to; it must not contain a configuration yet
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

const CONFIG: &str = include_str!("../../../examples/starter/sluicegate.yaml");
pub(super) const POLICIES: [(&str, &str); 3] = [
    ("words.yaml", include_str!("../../../examples/starter/policies/words.yaml")),
    ("rules.yaml", include_str!("../../../examples/starter/policies/rules.yaml")),
    ("tests.yaml", include_str!("../../../examples/starter/policies/tests.yaml")),
];

/// Those that publish and read.
const CLIENTS: [&str; 2] = ["my-service", "my-analyst"];

pub(super) fn run(args: &Args) -> Exit {
    if args.dir.join("sluicegate.yaml").exists() {
        eprint(format!(
            "`{}` already contains a configuration; choose another folder",
            args.dir.display()
        ));
        return Exit::Usage;
    }
    if let Err(error) = write(args) {
        eprint(error);
        return Exit::CheckFailed;
    }
    let dir = args.dir.display();
    print(format!(
        "Written to `{dir}`: a configuration, starter policies, a keyring, and for trying it \
         out certificates and settings of Kafka clients.\n\nNext:\n  sluicegate policy check {dir}/policies\n  sluicegate policy \
         test {dir}/policies\n  sluicegate config check {dir}/sluicegate.yaml\n  sluicegate run \
         --config {dir}/sluicegate.yaml\n\nReplace what is in certs/ and keys/ before anyone \
         relies on it."
    ));
    Exit::Ok
}

fn write(args: &Args) -> Result<(), GenerateError> {
    let dir = &args.dir;
    for (name, text) in POLICIES {
        generate::write(&dir.join("policies").join(name), text)?;
    }
    generate::write(&dir.join("sluicegate.yaml"), CONFIG)?;
    let certs = dir.join("certs");
    let clients = [&CLIENTS[..], &["auditor", "operator"]].concat();
    generate::certificates(&certs, "my-company", &clients)?;
    generate::kafka_clients(&dir.join("clients"), &certs, "localhost:9092", &CLIENTS)?;
    generate::private_folder(&dir.join("data"))?;
    generate::keyring(&dir.join("keys/keyring.yaml"), &["tokens-1"], &Ambient::system())
}
