//! An HTTPS client as a service would have it: the CA, its own certificate, and a URL.

use std::path::Path;

use super::DemoError;
use crate::service::Service;

/// A client with one principal's certificate.
pub(super) struct Client {
    http: reqwest::Client,
    data: String,
}

fn failed(error: impl std::fmt::Display) -> DemoError {
    DemoError::Request(error.to_string())
}

impl Client {
    pub(super) fn new(certs: &Path, name: &str, service: &Service) -> Result<Self, DemoError> {
        let read = |file: String| std::fs::read(certs.join(file)).map_err(failed);
        let ca = reqwest::Certificate::from_pem(&read("ca.pem".to_owned())?).map_err(failed)?;
        let mut identity = read(format!("{name}.pem"))?;
        identity.extend(read(format!("{name}.key"))?);
        let identity = reqwest::Identity::from_pem(&identity).map_err(failed)?;
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .identity(identity)
            .build()
            .map_err(failed)?;
        Ok(Self { http, data: format!("https://{}", service.data) })
    }

    /// Publishes NDJSON; the answer's lines.
    pub(super) async fn publish(&self, topic: &str, lines: Vec<u8>) -> Result<String, DemoError> {
        let url = format!("{}/v1/topics/{topic}/records", self.data);
        let request = self.http.post(url).header("content-type", "application/x-ndjson");
        let answer = request.body(lines).send().await.map_err(failed)?;
        answer.text().await.map_err(failed)
    }

    /// Publishes one JSON body; status and answer.
    pub(super) async fn try_publish(
        &self,
        topic: &str,
        body: &str,
    ) -> Result<(u16, String), DemoError> {
        let url = format!("{}/v1/topics/{topic}/records", self.data);
        let request = self.http.post(url).header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await.map_err(failed)?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(failed)?))
    }

    /// Reads a stretch of a partition.
    pub(super) async fn read(
        &self,
        region: &str,
        topic: &str,
        partition: u64,
        offset: u64,
        limit: u32,
    ) -> Result<(u16, String), DemoError> {
        let url = format!(
            "{}/v1/topics/{topic}/partitions/{partition}/records\
             ?region={region}&offset={offset}&limit={limit}",
            self.data
        );
        let answer = self.http.get(url).send().await.map_err(failed)?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(failed)?))
    }
}
