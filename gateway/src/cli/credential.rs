//! `sluicegate credential`: the passwords of Kafka clients, in a file that gateways watch. No password is an
//! argument (other users see those), and none is printed.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{Exit, Output, eprint, print};
use crate::{
    ambient::Ambient,
    identify::passwords::{ITERATIONS, PasswordFile, PasswordsError},
};

/// A password that is read is not longer.
const PASSWORD_BYTES_MAX: u64 = 1_024;
/// Of randomness in a generated password.
const GENERATED_BYTES: usize = 32;

const SET_EXAMPLE: &str = "\
Examples:
  sluicegate credential set svc.market --file keys/passwords.yaml --generate --out svc.market.password
  pass show kafka/svc.market | sluicegate credential set svc.market --file keys/passwords.yaml";

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Give a principal a password, or another one
    ///
    /// The password is read from standard input, up to its first line's end, or generated. The file is
    /// created if it is not there, readable by its owner only: run this as the gateway's user. A gateway
    /// that runs takes it at once; connections that exist continue.
    #[command(after_help = SET_EXAMPLE)]
    Set {
        /// The principal, as the policies name it
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        of: Of,
        /// Rounds of PBKDF2, 4096 to 1000000
        ///
        /// What each guess costs someone who has stolen the file, and each login the client (SCRAM) or
        /// the gateway (PLAIN). Use one number for all names: a stranger sees it.
        #[arg(long, value_name = "N", default_value_t = ITERATIONS)]
        iterations: u32,
        /// Generate a password of 256 random bits
        #[arg(long, requires = "out")]
        generate: bool,
        /// Where the generated password goes; a new file, readable by its owner only
        #[arg(long, value_name = "FILE", requires = "generate")]
        out: Option<PathBuf>,
    },
    /// List who has a password
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Take a principal's password away
    ///
    /// From then on it cannot log in by a password. Its connections continue until they are closed.
    Remove {
        /// The principal
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(clap::Args)]
pub(super) struct Of {
    /// The file of passwords: `identify.passwords.file` of the configuration
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum CredentialError {
    #[error(
        "a password is not typed here\n  help: pipe it in (`… < FILE`), or use `--generate --out FILE`"
    )]
    Typed,
    #[error(
        "no password on standard input, or one of more than {PASSWORD_BYTES_MAX} bytes, or not UTF-8"
    )]
    Input,
    #[error("couldn't write `{}`: {why}", file.display())]
    Out { file: PathBuf, why: io::ErrorKind },
    #[error("the operating system's random source failed")]
    Random,
    #[error("`{name}` has no password in `{}`", file.display())]
    Nobody { name: String, file: PathBuf },
    #[error(transparent)]
    Passwords(#[from] PasswordsError),
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    match done(verb, &*Ambient::system().random) {
        Ok(told) => {
            match output {
                Output::Json => print(told.json),
                Output::Human => print(told.text),
            }
            Exit::Ok
        }
        Err(error) => {
            eprint(&error);
            match error {
                CredentialError::Typed | CredentialError::Input => Exit::Usage,
                _ => Exit::CheckFailed,
            }
        }
    }
}

struct Told {
    text: String,
    json: serde_json::Value,
}

fn done(verb: &Verb, random: &dyn SecureRandom) -> Result<Told, CredentialError> {
    match verb {
        Verb::Set { name, of: Of { file }, iterations, generate: _, out } => {
            let iterations = NonZeroU32::new(*iterations).unwrap_or(NonZeroU32::MIN);
            let password = match out {
                Some(out) => generated(out, random)?,
                None => given(io::stdin())?,
            };
            let set = |content: &mut PasswordFile| content.set(name, &password, iterations, random);
            let set = PasswordFile::change(file, random, set);
            if let (Err(_), Some(out)) = (&set, out) {
                // Nobody has that password.
                let _removed = fs::remove_file(out);
            }
            let what = if set? { "replaced" } else { "set" };
            let text = format!("{name}: {what}");
            Ok(Told { text, json: serde_json::json!({ "name": name, "done": what }) })
        }
        Verb::List { of: Of { file } } => {
            let content = PasswordFile::read(file)?;
            let lines = content.names().map(|(name, n)| format!("{name}\t{n} iterations"));
            let text = lines.collect::<Vec<_>>().join("\n");
            let names = content.names();
            let names = names.map(|(name, n)| serde_json::json!({ "name": name, "iterations": n }));
            let names: Vec<_> = names.collect();
            Ok(Told { text, json: serde_json::json!({ "credentials": names }) })
        }
        Verb::Remove { name, of: Of { file } } => {
            // A file that is not there is not made for this.
            PasswordFile::read(file)?;
            if !PasswordFile::change(file, random, |content| Ok(content.remove(name)))? {
                return Err(CredentialError::Nobody { name: name.clone(), file: file.clone() });
            }
            let json = serde_json::json!({ "name": name, "done": "removed" });
            Ok(Told { text: format!("{name}: removed"), json })
        }
    }
}

/// The first line.
fn given(from: io::Stdin) -> Result<Zeroizing<String>, CredentialError> {
    if from.is_terminal() {
        return Err(CredentialError::Typed);
    }
    let mut text = Zeroizing::new(String::new());
    let read = from.take(PASSWORD_BYTES_MAX + 2).read_to_string(&mut text);
    read.map_err(|_| CredentialError::Input)?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    match line.is_empty() || line.len() as u64 > PASSWORD_BYTES_MAX {
        true => Err(CredentialError::Input),
        false => Ok(line),
    }
}

/// A password that is in a file before anyone can need it.
fn generated(out: &Path, random: &dyn SecureRandom) -> Result<Zeroizing<String>, CredentialError> {
    let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
    random.fill(&mut *bytes).map_err(|_| CredentialError::Random)?;
    let password = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes));
    let failed = |error: io::Error| CredentialError::Out { file: out.into(), why: error.kind() };
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(out).map_err(failed)?;
    let line = Zeroizing::new(format!("{}\n", *password));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(password)
}
