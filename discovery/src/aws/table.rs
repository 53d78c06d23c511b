//! Labels that are copied from elements, by tables of names.

use credentials::xml::Element;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::go::parse_bool;

use crate::meta::MetaLabels;
use crate::prepare::DiscoveryError;

/// What stands in an element, and so how its label is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Flag,
    Number,
    /// A time, written without parts of seconds.
    Time,
}

/// A row: where the element is below the one that is read (names with dots between), the label, and what it is.
pub(super) type Row = (&'static str, &'static str, Kind);

/// Sets the label of each row whose element is there; `prefix` stands before the labels' names.
pub(super) fn copy(
    target: &mut MetaLabels,
    prefix: &str,
    element: &Element<'_>,
    rows: &[Row],
) -> Result<(), DiscoveryError> {
    for (path, label, kind) in rows {
        let found = path
            .split('.')
            .try_fold(element, |element, name| element.child(name));
        let Some(text) = found.map(Element::text).filter(|text| !text.is_empty()) else {
            continue;
        };
        let bad = || DiscoveryError::content(path, format_args!("{text:?} is no {kind:?}"));
        let name = format!("{prefix}{label}");
        match kind {
            Kind::Text => target.meta(&name, text),
            Kind::Flag => target.meta(&name, parse_bool(text.trim()).ok_or_else(bad)?),
            Kind::Number => target.meta(&name, text.trim().parse::<i64>().map_err(|_| bad())?),
            Kind::Time => {
                let time: Timestamp = text.trim().parse().map_err(|_| bad())?;
                target.meta(&name, time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Row] = &[
        ("Name", "name", Kind::Text),
        ("In.Side", "inside", Kind::Flag),
        ("Count", "count", Kind::Number),
        ("At", "at", Kind::Time),
        ("Missing", "missing", Kind::Time),
    ];

    fn copied(document: &str) -> Result<String, DiscoveryError> {
        let element = Element::parse(document.as_bytes()).expect("XML");
        let mut target = MetaLabels::new("__meta_x_");
        copy(&mut target, "p_", &element, ROWS)?;
        Ok(target.build()?.to_string())
    }

    #[test]
    fn rows_become_labels_and_what_is_no_such_value_is_named() {
        let labels = copied(
            "<e><Name>n</Name><In><Side>T</Side></In><Count>007</Count><At>2026-01-02T03:04:05.678Z</At></e>",
        );
        assert_eq!(
            labels.expect("labels"),
            r#"{__meta_x_p_at="2026-01-02T03:04:05Z", __meta_x_p_count="7", __meta_x_p_inside="true", __meta_x_p_name="n"}"#
        );
        assert_eq!(copied("<e><Name/><Count/></e>").expect("labels"), "{}");
        for bad in [
            "<e><Count>x</Count></e>",
            "<e><At>today</At></e>",
            "<e><In><Side>yes</Side></In></e>",
        ] {
            assert!(copied(bad).is_err(), "{bad}");
        }
    }
}
