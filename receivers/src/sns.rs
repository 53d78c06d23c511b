//! Amazon SNS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use credentials::aws::fault::Fault;
use credentials::aws::{Aws, AwsSettings};
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use url::{Url, form_urlencoded};
use yaml::{Secret, Section, Value, YamlError};

use crate::config::Kind;
use crate::deliver::chance;
use crate::group_key::hash;
use crate::http::{Answer, Client};
use crate::integration::{Setup, Unbuilt};
use crate::preview;
use crate::receiver::{Failure, FailureReason, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{Settings as _, is_default};
use crate::{Global, Notification, despite};

/// SNS's limits of a message, in bytes: as a rule, and as an SMS.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
const SMS_BYTES_MAX: usize = 1600;
/// Requests of one attempt.
///
/// Compat: AWS's SDK asks again by itself.
const REQUESTS_MAX: u32 = 3;
/// The longest pause between them, which doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SnsConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    #[serde(skip_serializing_if = "is_default")]
    api_url: String,
    sigv4: Signing,
    #[serde(skip_serializing_if = "is_default")]
    topic_arn: String,
    #[serde(skip_serializing_if = "is_default")]
    phone_number: String,
    #[serde(skip_serializing_if = "is_default")]
    target_arn: String,
    #[serde(skip_serializing_if = "is_default")]
    subject: String,
    #[serde(skip_serializing_if = "is_default")]
    message: String,
    #[serde(skip_serializing_if = "is_default")]
    attributes: BTreeMap<String, String>,
    /// Read and of no effect: there is one client.
    #[serde(skip_serializing_if = "is_default")]
    use_aws_http_client: bool,
}

/// Who signs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Signing {
    #[serde(skip_serializing_if = "is_default")]
    region: String,
    #[serde(skip_serializing_if = "is_default")]
    access_key: String,
    #[serde(skip_serializing_if = "is_default")]
    secret_key: Secret,
    #[serde(skip_serializing_if = "is_default")]
    profile: String,
    #[serde(skip_serializing_if = "is_default")]
    role_arn: String,
    #[serde(skip_serializing_if = "is_default")]
    external_id: String,
    /// Read and of no effect, as is the next: roles are assumed where the region says.
    #[serde(skip_serializing_if = "is_default")]
    use_fips_sts_endpoint: bool,
    #[serde(skip_serializing_if = "is_default")]
    service_name: String,
}

impl Signing {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("type sigv4.plain")?;
        let AwsSettings {
            region,
            access_key,
            secret_key,
            profile,
            role_arn,
            external_id,
        } = AwsSettings::read(&mut section)?;
        if access_key.is_empty() != secret_key.is_empty() {
            return Err(section.error(
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
            ));
        }
        if !external_id.is_empty() && role_arn.is_empty() {
            return Err(section.error_at("external_id", "external_id can only be used with role_arn"));
        }
        let signing = Signing {
            region,
            access_key,
            secret_key,
            profile,
            role_arn,
            external_id,
            use_fips_sts_endpoint: section.flag("use_fips_sts_endpoint", false)?,
            service_name: section.text("service_name")?,
        };
        section.finish()?;
        Ok(signing)
    }

    fn settings(&self) -> AwsSettings {
        AwsSettings {
            region: self.region.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            profile: self.profile.clone(),
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
        }
    }
}

impl Kind for SnsConfig {
    const NAME: &'static str = "sns";
    const WHAT: &'static str = "type sns.plain";
    const MISSING: &'static str = "missing sns config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let config = SnsConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            api_url: section.text("api_url")?,
            sigv4: section
                .value("sigv4")
                .map(Signing::read)
                .transpose()?
                .unwrap_or_default(),
            topic_arn: section.text("topic_arn")?,
            phone_number: section.text("phone_number")?,
            target_arn: section.text("target_arn")?,
            subject: section.text_or("subject", r#"{{ template "sns.default.subject" . }}"#)?,
            message: section.text_or("message", r#"{{ template "sns.default.message" . }}"#)?,
            attributes: section.get_or("attributes", BTreeMap::new())?,
            use_aws_http_client: section.flag("use_aws_http_client", false)?,
        };
        // Compat: one of them, or all three.
        let to = [&config.target_arn, &config.topic_arn, &config.phone_number];
        if !matches!(to.iter().filter(|to| !to.is_empty()).count(), 1 | 3) {
            return Err(
                section.error("must provide either a Target ARN, Topic ARN, or Phone Number for SNS config")
            );
        }
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        let client = Client::new(&self.http_config, setup)?.open();
        Ok(Arc::new(Sns {
            aws: Aws::new(
                self.sigv4.settings(),
                client.inner().clone(),
                setup.machine.clone(),
            )?,
            client,
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Sns {
    config: SnsConfig,
    client: Client,
    aws: Aws,
    setup: Setup,
}

/// One name and value of the form; values are bytes, because a message is cut by bytes.
type Form = Vec<(String, Vec<u8>)>;

impl Receiver for Sns {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (url, body) = self.publish(notification).await?;
            let mut pause = PAUSE_FIRST;
            for request in 1.. {
                let answer = self.ask(&url, body.clone(), deadline).await;
                let may_help = match &answer {
                    Ok(answer) => matches!(answer.status, 500 | 502 | 503 | 504) || is_throttled(answer),
                    Err(failure) => failure.retry,
                };
                let next = Instant::now() + pause.mul_f64(chance());
                if !may_help || request == REQUESTS_MAX || next >= deadline {
                    return check(answer, request == REQUESTS_MAX);
                }
                sleep_until(next).await;
                pause *= 2;
            }
            Ok(())
        })
    }
}

fn fault(answer: &Answer) -> Option<Fault> {
    Fault::of_xml(answer.so_far())
}

fn is_throttled(answer: &Answer) -> bool {
    let is_error = !(200..300).contains(&answer.status);
    // Of the status alone nothing follows: that is for the above to say.
    is_error && fault(answer).is_some_and(|fault| fault.passes(StatusCode::BAD_REQUEST))
}

/// What the last answer of an attempt means.
fn check(answer: Result<Answer, Failure>, was_last: bool) -> Result<(), Failure> {
    let answer = answer.map_err(|failure| {
        let often = if was_last {
            "exceeded maximum number of attempts, 3, "
        } else {
            ""
        };
        failure.within(format!(
            "operation error SNS: Publish, {often}https response error StatusCode: 0, RequestID: , request send failed, "
        ))
    })?;
    let message = fault(&answer).map(|fault| fault.message).unwrap_or_default();
    answer.check_with(
        &[],
        if message.is_empty() {
            "UnknownError".to_owned()
        } else {
            message
        },
    )
}

impl Sns {
    async fn ask(&self, url: &Url, body: Vec<u8>, deadline: Instant) -> Result<Answer, Failure> {
        let request = Request::post(url.clone(), "application/x-www-form-urlencoded", body);
        if preview::is_on() {
            return self.client.send(request, deadline).await;
        }
        let signed = self.aws.sign(request, "sns").await;
        self.client
            .send(
                signed.map_err(|error| Failure::again(error.to_string()))?,
                deadline,
            )
            .await
    }

    /// Where to, and the form.
    async fn publish(&self, notification: &Notification) -> Result<(Url, Vec<u8>), Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let url = render(&mut texts, "api_url", &self.config.api_url)?;
        let mut form = self.form(notification, &mut texts)?;
        drop(texts);
        form.sort();
        let encode = |text: &[u8]| form_urlencoded::byte_serialize(text).collect::<String>();
        let pairs = form
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name.as_bytes()), encode(value)));
        let body = pairs.collect::<Vec<_>>().join("&").into_bytes();
        let url = if url.is_empty() {
            let region = match preview::is_on() {
                // It would have to be asked for.
                true => "region".to_owned(),
                false => {
                    let region = self.aws.region().await;
                    region.map_err(|error| Failure::again(error.to_string()))?
                }
            };
            let endpoint = self.aws.endpoint("sns", &region);
            endpoint.map_err(|error| Failure::again(error.to_string()))?
        } else {
            self.client.parse("Post", &url)?
        };
        Ok((url, body))
    }

    fn form(&self, notification: &Notification, texts: &mut Rendering<'_>) -> Result<Form, Failure> {
        let config = &self.config;
        let mut attributes = BTreeMap::new();
        for (name, value) in &config.attributes {
            let (name, value) = (texts.part(name), texts.part(value));
            check_texts(texts, "attributes")?;
            // SNS refuses those that are empty.
            attributes.extend(name.zip(value));
        }
        let mut form: Form = vec![
            ("Action".to_owned(), b"Publish".to_vec()),
            ("Version".to_owned(), b"2010-03-31".to_vec()),
        ];
        let mut add = |name: &str, value: Vec<u8>| form.push((name.to_owned(), value));
        let topic = render(texts, "topic_arn", &config.topic_arn)?;
        if topic.ends_with(".fifo") {
            let key = hash(&notification.group_key).into_bytes();
            add("MessageDeduplicationId", key.clone());
            add("MessageGroupId", key);
        }
        let phone = render(texts, "phone_number", &config.phone_number)?;
        let target = render(texts, "target_arn", &config.target_arn)?;
        for (name, template, to) in [
            ("TopicArn", &config.topic_arn, topic),
            ("PhoneNumber", &config.phone_number, phone),
            ("TargetArn", &config.target_arn, target),
        ] {
            if !template.is_empty() {
                add(name, to.into_bytes());
            }
        }
        let bytes_max = if config.phone_number.is_empty() {
            MESSAGE_BYTES_MAX
        } else {
            SMS_BYTES_MAX
        };
        let mut message = render(texts, "message", &config.message)?.into_bytes();
        if message.len() > bytes_max {
            // Compat: in the midst of a character, too (conformance `phone`).
            message.truncate(bytes_max);
            attributes.insert("truncated".to_owned(), "true".to_owned());
        }
        add("Message", message);
        if !config.subject.is_empty() {
            add("Subject", render(texts, "subject", &config.subject)?.into_bytes());
        }
        for (index, (name, value)) in attributes.into_iter().enumerate() {
            let entry = format!("MessageAttributes.entry.{}", index + 1);
            add(&format!("{entry}.Name"), name.into_bytes());
            add(&format!("{entry}.Value.DataType"), b"String".to_vec());
            add(&format!("{entry}.Value.StringValue"), value.into_bytes());
        }
        Ok(form)
    }
}

fn render(texts: &mut Rendering<'_>, what: &str, template: &str) -> Result<String, Failure> {
    let text = match what {
        "subject" => texts.line(template),
        "message" => texts.text(template),
        _ => texts.address(template),
    };
    check_texts(texts, what)?;
    Ok(text)
}

/// Compat: a template that fails is tried again, and counted as the client's error.
fn check_texts(texts: &Rendering<'_>, what: &str) -> Result<(), Failure> {
    let checked = texts.check(&format!("execute '{what}' template: "));
    checked.map_err(|failure| Failure {
        // An address that fails now will fail again: where the default text stands in, nothing else fails.
        retry: !despite::is_on(),
        reason: FailureReason::ClientError,
        ..failure
    })
}
