//! The examples with releases: their policies hold, what is kept of the commands' output is what the commands
//! say today, recorded streams come out as the READMEs tell, and a gateway runs from the folder as it is.

use std::{collections::BTreeMap, fs, path::Path, process::Output};

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Ca, replace},
    client::{Credential, client},
    components,
    gateway::{CONFIG, Gateway, run},
};

use super::setup::write_keys;

/// Each example, and its releases.
const EXAMPLES: [(&str, &[&str]); 2] =
    [("ad-metrics", &["placement-clicks"]), ("patient-monitoring", &["ward-load", "ward-alarms"])];
/// So many draws that a mean square error is known to some percent.
const RUNS: u32 = 400;

fn folder(example: &str) -> std::path::PathBuf {
    components::root().join("examples").join(example)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command of a release says, as JSON.
fn said(dir: &Path, of: &str, verb: &str, release: &str, more: &[&str]) -> Value {
    let arguments = [&[of, verb, "policies", "--release", release, "-o", "json"], more].concat();
    serde_json::from_str(&text(&run(dir, &arguments))).unwrap()
}

fn simulated(dir: &Path, release: &str) -> Value {
    let runs = RUNS.to_string();
    let more = ["--input", "stream.ndjson", "--runs", &runs];
    said(dir, "release", "simulate", release, &more)
}

/// The rows of a simulation: window, key, row.
fn rows(simulation: &Value) -> impl Iterator<Item = (i64, &str, &Value)> {
    simulation["windows"].as_array().unwrap().iter().flat_map(|window| {
        let start = window["start_ms"].as_i64().unwrap();
        let rows = window["rows"].as_array().unwrap();
        rows.iter().map(move |row| (start, row["key"].as_str().unwrap(), row))
    })
}

fn numbers(row: &Value, of: &str) -> Vec<i64> {
    row[of].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect()
}

/// The draws in which a row was published.
fn published(row: &Value) -> Vec<Vec<i64>> {
    let draws = row["published"].as_array().unwrap();
    let draws = draws.iter().filter_map(Value::as_array);
    draws.map(|draw| draw.iter().map(|n| n.as_i64().unwrap()).collect()).collect()
}

#[test]
fn policies_hold_and_kept_output_is_what_the_commands_say() {
    for (example, releases) in EXAMPLES {
        let dir = folder(example);
        text(&run(&dir, &["policy", "check", "policies"]));
        text(&run(&dir, &["policy", "test", "policies"]));
        for release in releases {
            let explained =
                text(&run(&dir, &["policy", "explain", "policies", "--release", release]));
            let kept = fs::read_to_string(dir.join(format!("explain-{release}.txt"))).unwrap();
            assert_eq!(explained, kept, "explain-{release}.txt of {example} is of another policy");
            let fresh = tempfile::tempdir().unwrap();
            for dial in ["epsilon", "windows"] {
                let to = fresh.path().join("plot.svg");
                let to = to.to_str().unwrap();
                let draw = ["policy", "plot", "policies", "--release", release, "--against", dial];
                text(&run(&dir, &[&draw[..], &["--to", to]].concat()));
                let kept = dir.join(format!("plots/{release}-{dial}.svg"));
                assert_eq!(fs::read(to).unwrap(), fs::read(&kept).unwrap(), "{}", kept.display());
            }
        }
    }
}

/// The published noise has the size that theory says: over `n` draws the mean square has a relative error of
/// `sqrt(2/n)`, and a heavier tail for Laplace; six and more of those are allowed.
#[test]
fn noise_has_the_size_that_explain_says() {
    for (example, releases) in EXAMPLES {
        let dir = folder(example);
        for release in releases {
            let simulation = simulated(&dir, release);
            assert!(simulation["note"].as_str().unwrap().starts_with("SIMULATION ON RAW DATA"));
            let explained = said(&dir, "policy", "explain", release, &[]);
            let outputs = simulation["outputs"].as_array().unwrap();
            for (output, stated) in outputs.iter().zip(explained["outputs"].as_array().unwrap()) {
                let unit =
                    10_f64.powi(i32::try_from(output["decimals"].as_i64().unwrap()).unwrap());
                let (seen, theory) = (output["noise_rms"].as_f64(), stated["sd"].as_f64());
                let (seen, theory) = (seen.unwrap(), theory.unwrap() * unit);
                let draws = output["published_rows"].as_f64().unwrap();
                // The selected output is seen where it was large only.
                if simulation["outputs"].as_array().unwrap().len() == 3
                    && output["output"] == "subjects"
                {
                    assert!(seen < theory * 1.2, "{release}: {output}");
                    continue;
                }
                let (mean_square, off) = ((seen / theory).powi(2), 6.0 * (5.0 / draws).sqrt());
                assert!(
                    (mean_square - 1.0).abs() < off,
                    "{release}: {mean_square}, off by {off}: {output}"
                );
            }
        }
    }
}

#[test]
fn a_placement_of_four_people_never_appears() {
    let simulation = simulated(&folder("ad-metrics"), "placement-clicks");
    let (mut tiny, mut large) = (0, 0);
    for (_, key, row) in rows(&simulation) {
        let subjects = numbers(row, "truth")[0];
        if key == "board-members-of-acme/emea" {
            assert!((1..=4).contains(&subjects));
            assert!(published(row).is_empty(), "four people appear");
            tiny += 1;
        }
        // The threshold's own error is far away from rows like these.
        if numbers(row, "bounded")[0] >= 70 {
            assert_eq!(published(row).len(), RUNS as usize, "{key}");
            large += 1;
        }
    }
    assert!(tiny >= 4 && large >= 20, "{tiny} and {large} rows of the two kinds");
    // The program that clicks all day: dozens of records, of which two a window count, in three windows.
    let program = "city-bikes/north-america";
    let lost: i64 = rows(&simulation)
        .filter(|(_, key, _)| *key == program)
        .map(|(_, _, row)| numbers(row, "truth")[1] - numbers(row, "bounded")[1])
        .sum();
    assert!(lost > 200, "{lost}");
}

#[test]
fn every_ward_is_published_and_a_monitor_that_repeats_itself_counts_six_times() {
    let dir = folder("patient-monitoring");
    let load = simulated(&dir, "ward-load");
    assert_eq!(rows(&load).count(), 3 * 6, "three shifts, six wards");
    let alarms = simulated(&dir, "ward-alarms");
    assert_eq!(rows(&alarms).count(), 6);
    for (_, key, row) in rows(&load).chain(rows(&alarms)) {
        assert_eq!(published(row).len(), RUNS as usize, "{key} is missing");
    }
    let lines = fs::read_to_string(dir.join("stream.ndjson")).unwrap();
    let readings: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut by_patient: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for reading in &readings {
        let value = &reading["value"];
        let whose = (value["ward"].as_str().unwrap(), value["patient"].as_str().unwrap());
        let (count, alarms) = by_patient.entry(whose).or_default();
        *count += 1;
        *alarms += value["alarm"].as_i64().unwrap();
    }
    assert!(by_patient.values().any(|(count, _)| *count > 90), "nobody repeats himself");
    for (_, ward, row) in rows(&alarms) {
        let of_ward = || by_patient.iter().filter(move |((of, _), _)| *of == ward);
        let (truth, bounded) = (numbers(row, "truth")[0], numbers(row, "bounded")[0]);
        assert_eq!(truth, of_ward().map(|(_, (_, alarms))| alarms).sum::<i64>(), "{ward}");
        // Of those with more than six readings, or in more than one ward, it is chance what counts.
        let moved = |patient: &str| by_patient.keys().filter(|(_, of)| *of == patient).count() > 1;
        let sure = |((_, patient), (count, alarms)): (&(&str, &str), &(i64, i64))| {
            if *count <= 6 && !moved(patient) { *alarms } else { 0 }
        };
        let most = |(_, (_, alarms)): (&(&str, &str), &(i64, i64))| (*alarms).min(6);
        let (least, most): (i64, i64) = (of_ward().map(sure).sum(), of_ward().map(most).sum());
        assert!((least..=most).contains(&bounded), "{ward}: {bounded} of {least} to {most}");
    }
}

/// The policies of the advertisements with another line in place of the one that begins so.
fn ads_with(house: &Path, begins: &str, line: &str) {
    fs::create_dir(house.join("policies")).unwrap();
    let mut changed = 0;
    for file in ["1-words.yaml", "2-rules.yaml"] {
        let policy = fs::read_to_string(folder("ad-metrics").join("policies").join(file)).unwrap();
        let lines = policy.lines().map(|old| match old.starts_with(begins) {
            true => {
                changed += 1;
                line
            }
            false => old,
        });
        let policy: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(house.join("policies").join(file), policy).unwrap();
    }
    assert_eq!(changed, 1);
}

/// With `late: revise` a simulation has each window twice, and what was late for the first is in the second.
#[test]
fn a_simulation_has_the_revisions() {
    let house = tempfile::tempdir().unwrap();
    let revise =
        "window: { size: 5m, lateness: 30s, late: revise, revisions: 1, revise-after: 10m }";
    ads_with(house.path(), "window:", revise);
    fs::copy(folder("ad-metrics").join("stream.ndjson"), house.path().join("stream.ndjson"))
        .unwrap();
    let simulation = simulated(house.path(), "placement-clicks");
    let once = simulated(&folder("ad-metrics"), "placement-clicks");
    assert!(simulation["late"].as_u64() < once["late"].as_u64());
    let windows = simulation["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 2 * once["windows"].as_array().unwrap().len());
    let mut more = 0;
    for pair in windows.chunks(2) {
        let [first, second] = pair else { panic!("a window without its revision") };
        assert_eq!((&first["revision"], &second["revision"]), (&json!(0), &json!(1)));
        assert_eq!(first["start_ms"], second["start_ms"]);
        let counted = |window: &Value| -> i64 {
            window["rows"].as_array().unwrap().iter().map(|row| numbers(row, "bounded")[1]).sum()
        };
        assert!(counted(second) >= counted(first));
        more += counted(second) - counted(first);
    }
    assert!(more > 0, "nothing that was late is in a revision");
}

/// With `every`, what readers get is shown: sums of panes as published, where they were; and how many people there
/// really were.
#[test]
fn a_simulation_has_the_sums_of_panes() {
    let house = tempfile::tempdir().unwrap();
    ads_with(house.path(), "window:", "window: { size: 30m, every: 5m, lateness: 30s }");
    fs::copy(folder("ad-metrics").join("stream.ndjson"), house.path().join("stream.ndjson"))
        .unwrap();
    let simulation = simulated(house.path(), "placement-clicks");
    let panes = simulation["windows"].as_array().unwrap();
    let windows = simulation["hopping"].as_array().unwrap();
    assert_eq!((windows.len(), panes.len()), (panes.len() - 5, windows.len() + 5));
    let (mut published_rows, mut missing, mut met_again) = (0, 0, 0);
    for (at, window) in windows.iter().enumerate() {
        for row in window["rows"].as_array().unwrap() {
            let parts: Vec<&Value> = panes[at..at + 6]
                .iter()
                .flat_map(|pane| pane["rows"].as_array().unwrap())
                .filter(|of_pane| of_pane["key"] == row["key"])
                .collect();
            let sum = |of: &dyn Fn(&Value) -> Option<Vec<i64>>| {
                parts
                    .iter()
                    .filter_map(|part| of(part))
                    .reduce(|sum, values| sum.iter().zip(&values).map(|(a, b)| a + b).collect())
            };
            let drawn = |row: &Value| serde_json::from_value(row["published"][0].clone()).unwrap();
            assert_eq!(drawn(row), sum(&drawn));
            assert_eq!(Some(numbers(row, "bounded")), sum(&|row| Some(numbers(row, "bounded"))));
            let truth = sum(&|row| Some(numbers(row, "truth"))).unwrap();
            let of_window = numbers(row, "truth");
            assert_eq!(of_window[1], truth[1], "each record is in one pane");
            met_again += truth[0] - of_window[0];
            let complete = parts.iter().filter(|part| drawn(part).is_some()).count();
            published_rows += usize::from(complete == 6);
            missing += usize::from((1..6).contains(&complete));
        }
    }
    assert!(
        published_rows > 0 && missing > 0 && met_again > 0,
        "{published_rows} {missing} {met_again}"
    );
}

/// On a stream in which few send much, what is published is too low by what `policy explain` says, given the
/// distribution: bias, not noise.
#[test]
fn the_bias_of_a_skewed_stream_is_what_explain_says() {
    const SUBJECTS: u64 = 400;
    let house = tempfile::tempdir().unwrap();
    let records = |subject: u64| 1 + 300 / (subject + 1);
    let mut crowds: BTreeMap<u64, u64> = BTreeMap::new();
    let mut lines = String::new();
    for subject in 0..SUBJECTS {
        *crowds.entry(records(subject)).or_default() += 1;
        for n in 0..records(subject) {
            let at = 1_793_613_600_000_u64 + n;
            let click = json!({ "user": format!("b-{subject}"), "country": "DE", "placement": "all/emea",
                                "cost": 0.5, "at": at });
            lines.push_str(&format!("{}\n", json!({ "value": click })));
        }
    }
    fs::write(house.path().join("stream.ndjson"), lines).unwrap();
    let all: u64 = crowds.iter().map(|(records, subjects)| records * subjects).sum();
    let crowds: Vec<String> = crowds
        .iter()
        .map(|(records, subjects)| format!("{{ records: {records}, subjects: {subjects} }}"))
        .collect();
    let expect = format!(
        "expect: {{ records: {all}, subjects: {SUBJECTS}, keys: 1, records-per-subject: [{}] }}",
        crowds.join(", ")
    );
    ads_with(house.path(), "expect:", &expect);
    let explained = said(house.path(), "policy", "explain", "placement-clicks", &[]);
    let stated = explained["bias"]["records_lost_at_least"].as_f64().unwrap();
    assert_eq!(explained["bias"]["records_lost_at_most"].as_f64(), Some(stated));
    assert!(stated > 50.0, "the stream is not skewed: {stated} %");
    let simulation = simulated(house.path(), "placement-clicks");
    let count = &simulation["outputs"][1];
    assert_eq!(count["output"], "count");
    let left_out = -count["bias_percent"].as_f64().unwrap();
    assert!((left_out - stated).abs() < 1e-9, "{left_out} % are left out, explain says {stated} %");
    // And the published numbers themselves are off by that, on average.
    let (_, _, row) = rows(&simulation).next().unwrap();
    let draws = published(row);
    assert_eq!(draws.len(), RUNS as usize);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let mean = draws.iter().map(|draw| draw[1] as f64).sum::<f64>() / f64::from(RUNS);
    let sd = explained["outputs"][1]["sd"].as_f64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let expected = all as f64 * (1.0 - stated / 100.0);
    assert!((mean - expected).abs() < 6.0 * sd / f64::from(RUNS).sqrt(), "{mean}, not {expected}");
}

/// A status, and lines.
async fn answer(client: &Client, gateway: &Gateway, path: &str) -> (u16, String) {
    let answer = client.get(gateway.url(path)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The clinics' gateway with the example's own configuration: readings go to the wards, totals and nothing
/// else to the planners.
#[tokio::test]
async fn the_clinics_run_from_their_folder() {
    let house = tempfile::tempdir().unwrap();
    let (dir, ca) = (house.path(), Ca::new("clinics"));
    for sub in ["policies", "certs", "keys", "data"] {
        fs::create_dir(dir.join(sub)).unwrap();
    }
    for entry in fs::read_dir(folder("patient-monitoring").join("policies")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join("policies").join(path.file_name().unwrap())).unwrap();
    }
    ca.write(&dir.join("certs"));
    ca.server().write(&dir.join("certs"), "server");
    write_keys(&dir.join("keys/keyring.yaml"), &["clinics-2026", "ledger-search"]);
    let config = fs::read_to_string(folder("patient-monitoring").join(CONFIG)).unwrap();
    replace(&dir.join(CONFIG), &config.replace(":8443", ":0").replace(":9443", ":0"));
    let checked = run(dir, &["config", "check", CONFIG]);
    assert_eq!(checked.status.code(), Some(3), "{}", String::from_utf8_lossy(&checked.stderr));
    let gateway = match Gateway::start_again(dir, &ca).await {
        Ok(gateway) => gateway,
        Err(why) => panic!("{why:?}"),
    };
    let of = |name: &str| {
        let identity = ca.client(&format!("spiffe://clinics/{name}"));
        client(&ca, &Credential::Certificate(&identity))
    };
    let stream = fs::read_to_string(folder("patient-monitoring").join("stream.ndjson")).unwrap();
    let some: String = stream.lines().take(200).flat_map(|line| [line, "\n"]).collect();
    let sent = of("bedside-monitors")
        .post(gateway.url("/v1/topics/readings/records"))
        .header("content-type", "application/x-ndjson")
        .body(some)
        .send()
        .await
        .unwrap();
    let (status, report) = (sent.status().as_u16(), sent.text().await.unwrap());
    assert_eq!(status, 200, "{report}");
    assert_eq!(
        report.matches("\"status\":\"delivered\"").count(),
        200,
        "{}",
        report.lines().next().unwrap_or_default()
    );
    let mut seen = 0;
    for partition in 0..4 {
        let path = format!("/v1/topics/readings/partitions/{partition}/records?limit=500");
        let (status, read) = answer(&of("ward-screens"), &gateway, &path).await;
        assert_eq!(status, 200, "{read}");
        seen += read.lines().count();
        let (status, refused) = answer(&of("bed-planner"), &gateway, &path).await;
        assert_eq!(status, 403, "{refused}");
    }
    assert_eq!(seen, 200);
    let totals = "/v1/topics/ward-load/partitions/0/records";
    let (status, read) = answer(&of("bed-planner"), &gateway, totals).await;
    assert_eq!((status, &*read), (200, ""));
    let (status, _) = answer(&of("ward-screens"), &gateway, totals).await;
    assert_eq!(status, 403);
    assert_eq!(gateway.stop().await, Some(0));
}
