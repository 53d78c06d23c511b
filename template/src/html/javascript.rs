//! What the writer must know of JavaScript.

/// Words after which a slash opens a regular expression.
const BEFORE_REGEXP: &[&str] = &[
    "break",
    "case",
    "continue",
    "delete",
    "do",
    "else",
    "finally",
    "in",
    "instanceof",
    "return",
    "throw",
    "try",
    "typeof",
    "void",
];

/// Whether a slash behind `code` divides; `before` tells the same of what came before `code`.
pub(super) fn slash_divides(code: &str, before: bool) -> bool {
    let code = code.trim_end_matches(['\t', '\n', '\u{c}', '\r', ' ', '\u{2028}', '\u{2029}']);
    let Some(last) = code.chars().next_back() else {
        return before;
    };
    match last {
        // `++` and `--` end an operand, `+` and `-` want one.
        '+' | '-' => (code.len() - code.trim_end_matches(last).len()).is_multiple_of(2),
        // `42.` is a number.
        '.' => code[..code.len() - 1].ends_with(|c: char| c.is_ascii_digit()),
        ',' | '<' | '>' | '=' | '*' | '%' | '&' | '|' | '^' | '?' | '!' | '~' | '(' | '[' | ':' | ';'
        | '{' | '}' => false,
        _ => {
            let word_start = code.trim_end_matches(is_ident).len();
            !BEFORE_REGEXP.contains(&&code[word_start..])
        }
    }
}

/// Whether `c` can be part of a name, keyword or number.
pub(super) fn is_ident(c: char) -> bool {
    c == '$' || c == '_' || c.is_ascii_alphanumeric()
}

/// Whether a script of this MIME type is JavaScript, or JSON, which is written alike.
pub(super) fn is_script_type(mime: &str) -> bool {
    let mime = mime.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match mime.as_str() {
        "" | "module" | "application/json" | "application/ld+json" => true,
        other => match other.split_once('/') {
            Some(("application", kind)) => is_ecmascript(kind),
            Some(("text", kind)) => {
                let version = kind
                    .strip_prefix("javascript1.")
                    .and_then(|v| v.parse::<u8>().ok());
                is_ecmascript(kind)
                    || matches!(kind, "jscript" | "livescript")
                    || version.is_some_and(|v| v <= 5)
            }
            _ => false,
        },
    }
}

fn is_ecmascript(kind: &str) -> bool {
    matches!(
        kind.strip_prefix("x-").unwrap_or(kind),
        "javascript" | "ecmascript"
    )
}
