//! What the demo shows, one function per section.

use std::path::Path;

use sluicegate_policies as policies;

use super::{DemoError, client::Client, print, stream::Tally};
use crate::{
    ambient::{Clock, SystemClock},
    config::Config,
    lineage::{Lineage, Question},
    service::Service,
};

fn title(text: &str) {
    print(format!("\n── {text} {}", "─".repeat(76_usize.saturating_sub(text.chars().count()))));
}

pub(super) fn house(config: &Config, service: &Service) {
    title("The system");
    print(format!("  services  https://{}   (mutual TLS, HTTP/1.1 and 2)", service.data));
    for face in config.kafka.values() {
        print(format!("  services  {}   (Kafka clients, mutual TLS)", face.advertised));
    }
    print(format!("  auditors  https://{}", service.admin));
    let regions: Vec<&str> = config.regions.keys().map(String::as_str).collect();
    print(format!("  regions   {}   (embedded pipelines)", regions.join(", ")));
    print(
        "  people    svc.accounts and svc.market publish; analyst reads; ads.partner is kept out",
    );
    title("A stream of people, auctions and bids goes in");
}

pub(super) fn tally(tally: &Tally) {
    let rate = tally.published as f64 / tally.seconds.max(0.001);
    print(format!("  {} events in {:.1} s ({rate:.0} a second)", tally.published, tally.seconds));
    title("What was accepted, and where it went");
    for (topic, records) in &tally.accepted {
        print(format!("  {topic:<10} {records:>8} accepted"));
    }
    for (region, copies) in &tally.regions {
        print(format!("  → {region:<12} {copies:>8} copies"));
    }
    title("What was refused, and why");
    for ((topic, code, rule), records) in &tally.refused {
        let by = if rule.is_empty() { String::new() } else { format!(", by {rule}") };
        print(format!("  {topic:<10} {records:>8} {code}{by}"));
    }
}

/// Who may publish what: the same record from four principals.
pub(super) async fn doors(certs: &Path, service: &Service) -> Result<(), DemoError> {
    title("Who may publish a member? The same record from four principals");
    let record = r#"{"key":"1","value":{"id":1,"email":"a@example.org","country":"DE"}}"#;
    for name in ["svc.accounts", "svc.market", "analyst", "ads.partner"] {
        let (status, answer) =
            Client::new(certs, name, service)?.try_publish("people", record).await?;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        let words = match answer.get("code").and_then(|code| code.as_str()) {
            None => "delivered".to_owned(),
            Some(code) => {
                let rule = answer
                    .get("rule")
                    .and_then(|rule| rule.as_str())
                    .map(|r| format!(", rule {r}"));
                format!("{code}{}", rule.unwrap_or_default())
            }
        };
        print(format!("  {name:<14} {status}  {words}"));
    }
    Ok(())
}

pub(super) async fn before_and_after(
    certs: &Path,
    service: &Service,
    tally: &Tally,
) -> Result<(), DemoError> {
    let Some((sent, region, partition, offset)) = &tally.person else { return Ok(()) };
    title("A record before and after");
    print(format!("  sent      {sent}"));
    let analyst = Client::new(certs, "analyst", service)?;
    let (_, read) = analyst.read(region, "people", *partition, *offset, 1).await?;
    print(format!("  analyst   {}", read.trim_end()));
    print(format!("  stored at {region}: people/{partition}/{offset}"));
    Ok(())
}

pub(super) fn explained(dir: &Path) -> Result<(), DemoError> {
    title("Why? Ask the policies");
    let ledger = |e: String| DemoError::Ledger(e);
    let sources =
        crate::decide::read_bundle(&dir.join("policies")).map_err(|e| ledger(e.to_string()))?;
    let bundle =
        policies::Bundle::compile(&sources).map_err(|report| ledger(report.render(&sources)))?;
    let table =
        bundle.table(SystemClock.now_ms()).map_err(|report| ledger(report.render(&sources)))?;
    let question = policies::Question {
        principal: "svc.market".to_owned(),
        purpose: Some("service".to_owned()),
        dataset: "bids".to_owned(),
        field: Some("bidder.id".to_owned()),
        region: None,
        jurisdiction: Some("DE".to_owned()),
    };
    print("  $ sluicegate policy explain … --principal svc.market --purpose service \\");
    print("      --dataset bids --field bidder.id --jurisdiction DE\n");
    for line in policies::explain(&table, &question).to_string().lines() {
        print(format!("  {line}"));
    }
    Ok(())
}

pub(super) async fn lineage(config: &Config, tally: &Tally) -> Result<(), DemoError> {
    let Some((region, partition, offset)) = &tally.bid else { return Ok(()) };
    title("Where does that bid come from, and where did it go? Ask the ledger");
    let failed = |e: String| DemoError::Ledger(e);
    let place = format!("bids/{partition}/{offset}");
    print(format!("  $ sluicegate lineage record {place} --region {region}\n"));
    let lineage = Lineage::of(config).await.map_err(|e| failed(e.to_string()))?;
    let question =
        Question::record(Some(region.clone()), &place).map_err(|e| failed(e.to_string()))?;
    let answer = lineage.ask(&question).await.map_err(|e| failed(e.to_string()))?;
    for line in answer.to_string().trim_end().lines() {
        print(format!("  {line}"));
    }
    Ok(())
}

pub(super) async fn verified(config: &Config) -> Result<(), DemoError> {
    title("Is the ledger what it was? Re-hash every row");
    let failed = |e: String| DemoError::Ledger(e);
    let lineage = Lineage::of(config).await.map_err(|e| failed(e.to_string()))?;
    let started = tokio::time::Instant::now();
    let verdict = lineage.verify().await.map_err(|e| failed(e.to_string()))?;
    for line in verdict.to_string().trim_end().lines() {
        print(format!("  {line}"));
    }
    print(format!("  in {:.2} s", started.elapsed().as_secs_f64()));
    if !verdict.is_ok() {
        return Err(DemoError::Ledger("it diverges".to_owned()));
    }
    Ok(())
}

pub(super) fn try_next(dir: &Path, service: &Service) {
    title("Try next (Ctrl-C ends the demo)");
    let (d, data, admin) = (dir.display(), service.data, service.admin);
    let curl = |name: &str| {
        format!(
            "curl --cacert {d}/certs/ca.pem --cert {d}/certs/{name}.pem --key {d}/certs/{name}.key"
        )
    };
    print(format!(
        "  {} -H 'content-type: application/json' \\\n    \
         -d '{{\"value\":{{\"id\":7,\"email\":\"you@example.org\",\"country\":\"FR\"}}}}' \\\n    \
         https://{data}/v1/topics/people/records",
        curl("svc.accounts")
    ));
    print(format!(
        "  {} \\\n    'https://{data}/v1/topics/bids/partitions/0/records?region=us-east&limit=3'",
        curl("analyst")
    ));
    print(format!("  kcat -F {d}/clients/analyst.conf -C -t bids -o beginning -e -c 3"));
    print(format!(
        "  {} \\\n    'https://{admin}/v1/lineage/affected?source=device=terminal-7'",
        curl("auditor")
    ));
    print(format!("  sluicegate policy test {d}/policies"));
    print(format!("  sluicegate ledger verify --config {d}/sluicegate.yaml"));
    print(format!(
        "  $EDITOR {d}/policies/4-protection.yaml   # takes effect at once; a mistake changes nothing"
    ));
}
