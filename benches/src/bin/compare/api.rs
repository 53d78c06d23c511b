//! The HTTP API of a server, as far as comparisons need it.

use std::io::Read as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How answers are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Encoding {
    /// As they are.
    #[default]
    Identity,
    /// Compressed, as Grafana, browsers and most libraries ask for them.
    Gzip,
}

impl Encoding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
        }
    }
}

/// A server's API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: reqwest::Client,
    base: String,
    encoding: Encoding,
    /// Answers may be ones that the server has kept.
    from_kept: bool,
}

impl Api {
    /// The API below a URL such as `http://127.0.0.1:9090`.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Api {
            client,
            base: url.trim_end_matches('/').to_owned(),
            encoding: Encoding::Identity,
            from_kept: false,
        })
    }

    /// The same, asked in another way.
    pub(crate) fn asked_as(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The same, with answers that the server may have kept.
    pub(crate) fn taking_kept(mut self) -> Self {
        self.from_kept = true;
        self
    }

    /// The body of an answer, which must be a success.
    pub(crate) async fn get(&self, path: &str, pairs: &[(&str, String)]) -> Result<Vec<u8>> {
        let answer = self.ask(path, pairs).await?;
        let status = answer.status();
        let packed = answer
            .headers()
            .get("content-encoding")
            .is_some_and(|name| name == "gzip");
        let mut body = answer.bytes().await.with_context(|| self.broke_off())?.to_vec();
        if packed {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..])
                .read_to_end(&mut plain)
                .with_context(|| format!("{}{path}: the answer is no gzip", self.base))?;
            body = plain;
        }
        if !status.is_success() {
            bail!(
                "{}{path}: {status}: {}",
                self.base,
                String::from_utf8_lossy(&body[..body.len().min(400)])
            );
        }
        Ok(body)
    }

    /// Reads the body of an answer to its end without keeping or unpacking it; its length in bytes as it was sent.
    pub(crate) async fn drain(&self, path: &str, pairs: &[(&str, String)]) -> Result<usize> {
        let mut answer = self.ask(path, pairs).await?.error_for_status()?;
        let mut length = 0;
        while let Some(part) = answer.chunk().await.with_context(|| self.broke_off())? {
            length += part.len();
        }
        Ok(length)
    }

    async fn ask(&self, path: &str, pairs: &[(&str, String)]) -> Result<reqwest::Response> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let url = format!("{}{path}?{query}", self.base);
        let mut request = self
            .client
            .get(&url)
            .header("Accept-Encoding", self.encoding.name());
        if !self.from_kept {
            request = request.header("Cache-Control", "no-store");
        }
        let sent = request.send().await;
        sent.with_context(|| format!("cannot ask {}", self.base))
    }

    fn broke_off(&self) -> String {
        format!("{} broke off", self.base)
    }

    /// The `data` of an instant query's answer.
    pub(crate) async fn instant(&self, expr: &str, at_s: f64) -> Result<Value> {
        let pairs = [
            ("query", expr.to_owned()),
            ("time", format!("{at_s:.3}")),
            ("nocache", "1".to_owned()),
        ];
        let mut answer: Value = serde_json::from_slice(&self.get("/api/v1/query", &pairs).await?)?;
        Ok(answer["data"].take())
    }

    /// The value of an instant query whose answer is one element; none when the answer is empty.
    pub(crate) async fn number(&self, expr: &str, at_s: f64) -> Result<Option<f64>> {
        let data = self.instant(expr, at_s).await?;
        let Some(text) = data["result"][0]["value"][1].as_str() else {
            return Ok(None);
        };
        Ok(Some(text.parse()?))
    }

    /// A metric without labels, as the server's own page shows it.
    pub(crate) async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let page = self.get("/metrics", &[]).await?;
        let page = String::from_utf8_lossy(&page);
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?)
    }

    /// The sum of a metric over its labels, as the server's own page shows it.
    pub(crate) async fn metric_sum(&self, name: &str) -> Result<f64> {
        let page = self.get("/metrics", &[]).await?;
        let page = String::from_utf8_lossy(&page);
        let of_metric = page.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values = of_metric.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }
}
