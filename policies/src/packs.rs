//! Ready-made documents that a bundle can take in as further sources.

use crate::source::Source;

/// Countries by ISO 3166, and the European Economic Area.
pub const JURISDICTIONS: &str = include_str!("../packs/jurisdictions.yaml");
/// Countries with an adequacy decision of the European Commission, each with its dates.
pub const EU_ADEQUACY: &str = include_str!("../packs/eu-transfers/adequacy.yaml");

/// All packs, under the names by which messages speak of them.
pub fn packs() -> Vec<Source> {
    vec![
        Source::new("packs/jurisdictions.yaml", JURISDICTIONS),
        Source::new("packs/eu-transfers/adequacy.yaml", EU_ADEQUACY),
    ]
}
