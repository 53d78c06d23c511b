//! What the values of HTML attributes mean.

use super::context::Attr;

/// Attributes that hold URLs (HTML 5 and the `%URI` attributes of HTML 4).
const URLS: &[&str] = &[
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "profile",
    "src",
    "usemap",
    "xmlns",
];

/// Attributes that hold something else although their names look like URLs or scripts.
const PLAIN: &[&str] = &["srclang", "srcdoc"];

/// What an attribute called `name`, in lower case, holds.
pub(super) fn kind(name: &str) -> Attr {
    let name = match (name.strip_prefix("data-"), name.split_once(':')) {
        // Data attributes are held to mean what their name says.
        (Some(rest), _) => rest,
        (None, Some(("xmlns", _))) => return Attr::Url,
        (None, Some((_, local))) => local,
        (None, None) => name,
    };
    match name {
        "style" => Attr::Style,
        "srcset" => Attr::Srcset,
        name if URLS.contains(&name) => Attr::Url,
        name if PLAIN.contains(&name) => Attr::Plain,
        name if name.starts_with("on") => Attr::Script,
        name if ["src", "uri", "url"].iter().any(|part| name.contains(part)) => Attr::Url,
        _ => Attr::Plain,
    }
}

/// Whether a value may name the attribute `name`: whatever its own value is, it runs nothing and sends nothing.
pub(super) fn is_harmless(name: &str) -> bool {
    kind(name) == Attr::Plain && !UNSAFE.contains(&name)
}

/// Attributes that change what other content means, or where it goes.
const UNSAFE: &[&str] = &[
    "async",
    "challenge",
    "charset",
    "content",
    "crossorigin",
    "defer",
    "enctype",
    "form",
    "formenctype",
    "formmethod",
    "formnovalidate",
    "keytype",
    "language",
    "method",
    "novalidate",
    "pattern",
    "rel",
    "sandbox",
    "srcdoc",
    "type",
    "value",
];
