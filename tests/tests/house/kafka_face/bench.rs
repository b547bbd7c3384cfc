//! `sluicegate bench`, straight at a broker and through the gateway.

use std::{fs, time::Duration};

use serde_json::Value;
use sluicegate_tests::{
    gateway::{program, run},
    kafka::read,
    process::{Process, Signal, eventually},
    require,
};

use super::House;

const RECORDS: u64 = 400;
const WARM_UP: u64 = 200;
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(90);
const STOPPED: Duration = Duration::from_millis(1_000);

/// Writes `NAME.properties` as a Java client has it.
fn properties(house: &House, name: &str) -> String {
    let files = house.setup.files(name);
    let read = |path| fs::read_to_string(path).unwrap();
    let store = house.setup.path().join(format!("{name}.pem"));
    fs::write(&store, read(&files.key) + &read(&files.certificate)).unwrap();
    let text = format!(
        "bootstrap.servers=localhost:{}\nsecurity.protocol=SSL\nssl.truststore.type=PEM\n\
         ssl.truststore.location={}\nssl.keystore.type=PEM\nssl.keystore.location={}\n",
        house.port,
        house.setup.path().join("certs/ca.pem").display(),
        store.display(),
    );
    let file = format!("{name}.properties");
    fs::write(house.setup.path().join(&file), text).unwrap();
    file
}

fn number(run: &Value, pointer: &str) -> f64 {
    run.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {run}"))
}

#[tokio::test]
async fn bench_counts_each_record_directly_and_through_the_gateway() {
    let clusters = require!(kafka);
    let house = House::start_at_ports(&clusters, |_| {}).await;
    let (writer, reader) = (properties(&house, "svc.accounts"), properties(&house, "analyst"));
    let pid = house.gateway.id().to_string();
    let measured = |access: &[&str]| {
        let common = ["bench", "-o", "json", "--topic", &house.people, "--watch-pid", &pid];
        let output = run(house.setup.path(), &[&common, access].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let size = ["--rate", "200", "--seconds", "2", "--warm-up-seconds", "1"];
    let direct = ["--bootstrap", &house.broker];
    let gateway = ["--config", &writer, "--reader-config", &reader];
    for access in [&direct[..], &gateway[..]] {
        let report = measured(&[access, &size[..]].concat());
        let run = &report["published"][0];
        for (pointer, wanted) in [
            ("/rate_wanted_records_per_s", 200),
            ("/scheduled_records", RECORDS),
            ("/acknowledged_records", RECORDS),
            ("/publish/records", RECORDS),
            ("/end_to_end/records", RECORDS),
            ("/unread_records", 0),
            ("/failed_records", 0),
            ("/unsent_records", 0),
        ] {
            assert_eq!(number(run, pointer), wanted as f64, "{pointer}: {run}");
        }
        assert!(number(run, "/end_to_end/p50_ms") > 0.0 && number(run, "/acknowledged_mb") > 0.0);
        assert_eq!(run["watched"][0]["pid"].to_string(), pid);
        assert!(number(run, "/watched/0/resident_mb_max") > 1.0);
    }
    assert_eq!(read(&house.broker, &house.people).await.len() as u64, 2 * (RECORDS + WARM_UP));
    let all = ["--consume-only", "--seconds", "2", "--warm-up-seconds", "0", "--connections", "2"];
    let report = measured(&[&["--config", &reader], &all[..]].concat());
    let passes = number(&report, "/consumed/passes");
    let records = number(&report, "/consumed/records");
    let once = 2 * (RECORDS + WARM_UP);
    assert!(passes >= 2.0 && records >= passes * once as f64, "{report}");
    // Who may not read is told so.
    let refused = ["--config", &writer, "--consume-only", "--seconds", "1"];
    let output =
        run(house.setup.path(), &[&["bench", "--topic", &house.people], &refused[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    house.gateway.stop().await;
}

/// A stall shows in each record that was due meanwhile, though the client could not even send them.
#[tokio::test]
async fn bench_counts_a_stall_from_when_records_were_due() {
    let clusters = require!(kafka);
    let mut house = House::start_at_ports(&clusters, |_| {}).await;
    let writer = properties(&house, "svc.accounts");
    let mut bench = program(house.setup.path());
    bench.args(["bench", "-o", "json", "--config", &writer, "--topic", &house.people]);
    bench.args(["--publish-only", "--rate", "200", "--seconds", "6", "--warm-up-seconds", "2"]);
    bench.args(["--in-flight", "20"]);
    let [out, err] = ["bench.out", "bench.err"].map(|name| house.setup.path().join(name));
    let mut bench = Process::start(&mut bench, &out, &err);
    let measuring = eventually(STARTS_WITHIN, async || {
        fs::read_to_string(&err).unwrap().contains("measuring").then_some(())
    });
    assert!(measuring.await.is_some(), "{}", fs::read_to_string(&err).unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    house.gateway.signal(Signal::Stop);
    tokio::time::sleep(STOPPED).await;
    house.gateway.signal(Signal::Cont);
    let ended = bench.wait(ENDS_WITHIN).await;
    assert!(ended.is_some_and(|status| status.success()), "{}", fs::read_to_string(&err).unwrap());
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let run = &report["published"][0];
    // A busy machine may not keep the rate, and then it says so.
    let settled = number(run, "/acknowledged_records") + number(run, "/unsent_records");
    assert_eq!(settled, 1_200.0, "{run}");
    // 200 of 1,200 records were due while it stood still, and 20 of them could be under way.
    let stopped_ms = STOPPED.as_secs_f64() * 1e3;
    assert!(number(run, "/publish/p99_ms") > 0.8 * stopped_ms, "{run}");
    assert!(number(run, "/publish/p90_ms") > 0.25 * stopped_ms, "{run}");
    assert!(number(run, "/sent_late_ms_max") > 0.8 * stopped_ms, "{run}");
    house.gateway.stop().await;
}
