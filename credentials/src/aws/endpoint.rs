//! Where services are.

use url::Url;

use crate::error::CredentialsError;
use crate::machine::Machine;

/// What regions end on, by their beginning; of all others the first.
const SUFFIXES: [(&str, &str); 7] = [
    ("", "amazonaws.com"),
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
];

/// The address of a service of a region. The environment may have another one, for all or for one.
pub(super) fn of(machine: &Machine, service: &str, region: &str) -> Result<Url, CredentialsError> {
    let of = format!("AWS endpoint of {service} in region {region:?}");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if region.is_empty() || !region.chars().all(is_name) {
        return Err(CredentialsError::unusable(of, "that is no region's name"));
    }
    if !machine.is_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
        let own = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase());
        if let Some(text) = machine.var(&own).or_else(|| machine.var("AWS_ENDPOINT_URL")) {
            return Url::parse(&text)
                .map_err(|error| CredentialsError::unusable(of, format_args!("{text:?}: {error}")));
        }
    }
    let suffix = SUFFIXES.iter().rev().find(|(start, _)| region.starts_with(start));
    let suffix = suffix.map_or(SUFFIXES[0].1, |(_, suffix)| suffix);
    let text = format!("https://{service}.{region}.{suffix}/");
    Url::parse(&text).map_err(|error| CredentialsError::unusable(of, error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn regions_have_their_own_ends_and_what_is_none_is_refused() {
        let mut machine = Machine::new("test");
        machine.env = Some(Arc::default());
        let at = |machine: &Machine, service: &str, region: &str| {
            of(machine, service, region).map(|url| url.to_string())
        };
        assert_eq!(
            at(&machine, "ec2", "eu-west-1").expect("URL"),
            "https://ec2.eu-west-1.amazonaws.com/"
        );
        assert_eq!(
            at(&machine, "sts", "cn-north-1").expect("URL"),
            "https://sts.cn-north-1.amazonaws.com.cn/"
        );
        assert_eq!(
            at(&machine, "sts", "us-isob-east-1").expect("URL"),
            "https://sts.us-isob-east-1.sc2s.sgov.gov/"
        );
        for bad in ["", "evil.example/", "a b", "a@b"] {
            assert!(at(&machine, "ec2", bad).is_err(), "{bad}");
        }
        let env = [
            ("AWS_ENDPOINT_URL", "http://all.example"),
            ("AWS_ENDPOINT_URL_EC2", "http://own.example"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        machine.env = Some(Arc::new(env.into()));
        assert_eq!(at(&machine, "ec2", "r").expect("URL"), "http://own.example/");
        assert_eq!(at(&machine, "rds", "r").expect("URL"), "http://all.example/");
    }
}
