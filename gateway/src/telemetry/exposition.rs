//! The two text formats of metrics. OpenMetrics is what is encoded; the older format of Prometheus is
//! made from it line by line.

use std::collections::BTreeSet;

pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// In the older format a counter's family is called as its samples are, there are no units, no type
/// `info`, and no end mark.
pub(super) fn plain(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len());
    let suffixes: BTreeSet<(&str, &str)> = openmetrics
        .lines()
        .filter_map(|line| match line.strip_prefix("# TYPE ")?.split_once(' ')? {
            (family, "counter") => Some((family, "_total")),
            (family, "info") => Some((family, "_info")),
            _ => None,
        })
        .collect();
    let suffix = |family: &str| {
        suffixes.iter().find(|(known, _)| *known == family).map_or("", |(_, suffix)| suffix)
    };
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(family), rest) => {
                let rest = match rest.unwrap_or_default() {
                    "info" if what == "TYPE" => "gauge",
                    "unknown" if what == "TYPE" => "untyped",
                    rest => rest,
                };
                plain.extend(["# ", what, " ", family, suffix(family), " ", rest, "\n"]);
            }
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_called_as_their_samples() {
        let openmetrics = "# HELP a Words of it.\n# TYPE a counter\n# UNIT a s\na_total{l=\"x y\"} 1\n\
            # HELP b B.\n# TYPE b info\nb_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_total Words of it.\n# TYPE a_total counter\na_total{l=\"x y\"} 1\n\
            # HELP b_info B.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n";
        assert_eq!(plain(openmetrics), expected);
    }
}
