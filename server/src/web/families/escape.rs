//! Names outside the classic letters, for clients that do not know them.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Family, Metric};

/// What becomes of such names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Escaping {
    /// They stay.
    AllowUtf8,
    /// `a.b` becomes `a_b`.
    Underscores,
    /// `a.b_c` becomes `a_dot_b__c`.
    Dots,
    /// `a.b` becomes `U__a_2e_b`.
    Values,
}

impl Escaping {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "allow-utf-8" => Escaping::AllowUtf8,
            "underscores" => Escaping::Underscores,
            "dots" => Escaping::Dots,
            "values" => Escaping::Values,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// The family with escaped names.
    pub(super) fn apply(self, family: &Family) -> Cow<'_, Family> {
        let mut labels = family.metrics.iter().flat_map(|metric| &metric.labels);
        if self == Escaping::AllowUtf8
            || (is_classic(&family.name) && labels.all(|(name, _)| is_classic(name)))
        {
            return Cow::Borrowed(family);
        }
        let escaped = |metric: &Metric| Metric {
            labels: metric
                .labels
                .iter()
                .map(|(name, value)| (self.escape(name), value.clone()))
                .collect(),
            ..metric.clone()
        };
        Cow::Owned(Family {
            name: self.escape(&family.name),
            metrics: family.metrics.iter().map(escaped).collect(),
            ..family.clone()
        })
    }

    /// Compat: a name that needs no escaping stays, even where the scheme would change its underscores
    /// (push/federate `accept/text-0.0.4-dots`).
    fn escape(self, name: &str) -> String {
        if is_classic(name) {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Escaping::Values {
            out.push_str("U__");
        }
        for (index, c) in name.chars().enumerate() {
            let classic =
                c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && index > 0);
            match self {
                Escaping::AllowUtf8 => out.push(c),
                Escaping::Underscores => out.push(if classic { c } else { '_' }),
                Escaping::Dots if c == '_' => out.push_str("__"),
                Escaping::Dots if c == '.' => out.push_str("_dot_"),
                Escaping::Dots if classic => out.push(c),
                Escaping::Dots => out.push_str("__"),
                Escaping::Values if c == '_' => out.push_str("__"),
                Escaping::Values if classic => out.push(c),
                // Writing to a text cannot fail.
                Escaping::Values => drop(write!(out, "_{:x}_", u32::from(c))),
            }
        }
        out
    }
}

/// Whether a name has the classic letters only, a metric's colons included.
pub(super) fn is_classic(name: &str) -> bool {
    let mut bytes = name.bytes();
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_way_with_names() {
        for (name, underscores, dots, values) in [
            ("a_b", "a_b", "a_b", "a_b"),
            ("a.b_c", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"),
            ("é", "_", "__", "U___e9_"),
            ("1a", "_a", "__a", "U___31_a"),
        ] {
            assert_eq!(Escaping::Underscores.escape(name), underscores);
            assert_eq!(Escaping::Dots.escape(name), dots);
            assert_eq!(Escaping::Values.escape(name), values);
            assert_eq!(Escaping::AllowUtf8.escape(name), name);
        }
    }
}
