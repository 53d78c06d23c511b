//! The lease, and what lies beside it, as objects in a bucket behind S3's protocol.
//!
//! Writes are conditional: `If-None-Match: *` where there was nothing, `If-Match` with the entity tag that was read
//! otherwise; a service refuses (412, or 409 while another write is on its way) what is not about the object that it has.
//! A service that takes no notice of conditions would let two servers hold the lease: each write that should fail is
//! therefore tried once, when the bucket is first written to ([`Bucket::prove`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use credentials::Machine;
use credentials::aws::Aws;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Method;
use httpclient::{HttpClient, HttpClientConfig, Request, Response};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    BucketLease, LeaseStore, OpenError, Part, Record, Room, StoreError, Version, beginning, micro_time, time,
};

/// A book is one object, of so many bytes.
const ROOM: Room = Room {
    parts: 1,
    part_bytes_max: 16 << 20,
};
/// Longest object that is read, in bytes.
const OBJECT_BYTES_MAX: usize = 64 << 20;
/// Of a complaint, in bytes.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// The lease's object.
const LEASE: &str = "lease.json";
/// An entity tag that no object has.
const NO_TAG: &str = "\"00000000000000000000000000000000\"";

pub(super) struct Bucket {
    client: HttpClient,
    aws: Option<Aws>,
    endpoint: Option<Url>,
    config: BucketLease,
    ask_max: Duration,
    is_proven: AtomicBool,
}

/// The lease as it stands in its object.
#[derive(Deserialize, Serialize)]
struct LeaseObject {
    holder: String,
    term: u64,
    acquired: String,
    renewed: String,
    duration_ms: u64,
}

/// On what condition an object is written.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Absent,
    Tag(&'a str),
}

impl Bucket {
    pub(super) fn open(
        config: &BucketLease,
        machine: &Machine,
        ask_max: Duration,
    ) -> Result<Self, OpenError> {
        let http = HttpClientConfig {
            // A signature is for one host.
            follow_redirects: config.http.follow_redirects && !config.is_signed(),
            ..config.http.clone()
        };
        let client = machine.client(&http)?;
        let aws = config
            .is_signed()
            .then(|| Aws::new(config.sigv4.clone(), client.clone(), machine.clone()))
            .transpose()?;
        Ok(Bucket {
            client,
            aws,
            // The configuration's reader has looked at it.
            endpoint: config.endpoint.parse().ok(),
            config: config.clone(),
            ask_max,
            is_proven: AtomicBool::new(false),
        })
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{}{name}", self.config.bucket, self.config.prefix)
    }

    async fn url(&self, name: &str) -> Result<Url, StoreError> {
        let mut url = match (&self.endpoint, &self.aws) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, aws) => {
                let region = match aws {
                    Some(aws) => aws
                        .region()
                        .await
                        .map_err(|error| StoreError::Ask(error.into()))?,
                    None => self.config.sigv4.region.clone(),
                };
                let text = format!("https://s3.{region}.amazonaws.com");
                text.parse()
                    .map_err(|error: url::ParseError| StoreError::Ask(error.into()))?
            }
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(self.object(name).split('/'));
        }
        Ok(url)
    }

    async fn send(&self, request: Request) -> Result<Response, StoreError> {
        let digest = ring::digest::digest(&ring::digest::SHA256, request.content());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = request
            .timeout(self.ask_max)
            .header("x-amz-content-sha256", digest);
        let request = match &self.aws {
            Some(aws) => {
                let signed = aws.sign(request, "s3").await;
                signed.map_err(|error| StoreError::Ask(error.into()))?
            }
            None => request,
        };
        let answer = self.client.send(&request).await;
        answer.map_err(|error| StoreError::Ask(Box::new(error)))
    }

    async fn refused(&self, name: &str, answer: Response) -> StoreError {
        let status = answer.status().as_u16();
        if let (401 | 403, Some(aws)) = (status, &self.aws) {
            // There may be other credentials by now.
            aws.forget();
        }
        let body = answer.bytes(COMPLAINT_BYTES_MAX).await.unwrap_or_default();
        StoreError::Refused {
            object: self.object(name),
            status,
            message: beginning(&body),
        }
    }

    async fn read(&self, name: &str, known: Option<&Version>) -> Result<Part, StoreError> {
        let mut request = Request::get(self.url(name).await?);
        if let Some(Version(tag)) = known {
            request = request.header("if-none-match", tag);
        }
        let answer = self.send(request).await?;
        match answer.status().as_u16() {
            304 if known.is_some() => return Ok(Part::Unchanged),
            404 => return Ok(Part::Absent),
            200 => {}
            _ => return Err(self.refused(name, answer).await),
        }
        let version = self.tag(name, &answer)?;
        if known == Some(&version) {
            answer.discard().await;
            return Ok(Part::Unchanged);
        }
        let bytes = answer.bytes(OBJECT_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| StoreError::Ask(Box::new(error)))?.to_vec();
        Ok(Part::Present { bytes, version })
    }

    fn tag(&self, name: &str, answer: &Response) -> Result<Version, StoreError> {
        match answer.header("etag") {
            "" => Err(StoreError::Content {
                object: self.object(name),
                what: "the answer has no entity tag (ETag)".to_owned(),
            }),
            tag => Ok(Version(tag.to_owned())),
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Version, StoreError> {
        let request = Request::new(Method::PUT, self.url(name).await?)
            .header("content-type", "application/octet-stream")
            .body(bytes);
        let request = match condition {
            Condition::Absent => request.header("if-none-match", "*"),
            Condition::Tag(tag) => request.header("if-match", tag),
        };
        let answer = self.send(request).await?;
        match answer.status().as_u16() {
            200 | 201 | 204 => self.tag(name, &answer),
            // An object that is to be replaced may be gone.
            404 if matches!(condition, Condition::Tag(_)) => Err(self.conflict(name)),
            409 | 412 => Err(self.conflict(name)),
            _ => Err(self.refused(name, answer).await),
        }
    }

    fn conflict(&self, name: &str) -> StoreError {
        StoreError::Conflict {
            object: self.object(name),
        }
    }

    async fn write(&self, name: &str, bytes: Vec<u8>, over: Option<&Version>) -> Result<Version, StoreError> {
        let condition = match over {
            Some(Version(tag)) => Condition::Tag(tag),
            None => Condition::Absent,
        };
        self.put(name, bytes, condition).await
    }

    /// Makes sure that the service minds conditions: once there is an object, writes that must fail do.
    async fn prove(&self) -> Result<(), StoreError> {
        const NAME: &str = "conditions";
        if self.is_proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.put(NAME, b"1".to_vec(), Condition::Absent).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        for condition in [Condition::Absent, Condition::Tag(NO_TAG)] {
            match self.put(NAME, b"2".to_vec(), condition).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    return Err(StoreError::Content {
                        object: self.object(NAME),
                        what: "the service takes no notice of If-None-Match and If-Match: two servers would hold \
                               the lease"
                            .to_owned(),
                    });
                }
            }
        }
        self.is_proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl LeaseStore for Bucket {
    fn read_lease(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        async move {
            let Part::Present { bytes, version } = self.read(LEASE, None).await? else {
                return Ok(None);
            };
            let record = match serde_json::from_slice::<LeaseObject>(&bytes) {
                Ok(object) => Record {
                    holder: object.holder,
                    term: object.term,
                    acquired: time(&object.acquired),
                    renewed: time(&object.renewed),
                    duration: Duration::from_millis(object.duration_ms),
                },
                Err(_) => Record::unreadable(),
            };
            Ok(Some((record, version)))
        }
        .boxed()
    }

    fn write_lease<'a>(
        &'a self,
        record: &'a Record,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        async move {
            self.prove().await?;
            let object = LeaseObject {
                holder: record.holder.clone(),
                term: record.term,
                acquired: micro_time(record.acquired),
                renewed: micro_time(record.renewed),
                duration_ms: u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            };
            let bytes = serde_json::to_vec(&object).map_err(|error| StoreError::Ask(Box::new(error)))?;
            self.write(LEASE, bytes, over).await
        }
        .boxed()
    }

    fn read_part<'a>(
        &'a self,
        name: &'a str,
        known: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Part, StoreError>> {
        async move { self.read(name, known).await }.boxed()
    }

    fn write_part<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        async move { self.write(name, bytes, over).await }.boxed()
    }

    fn room(&self) -> Room {
        ROOM
    }
}
