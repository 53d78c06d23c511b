//! Functions that are too long. Formatted code says where one ends: at the brace below its first word.
//!
//! Tests are left out: a table of cases is data, and may be as long as there are cases.

use std::path::Path;

/// Longest function that passes, in lines. They aim at 70.
const LINES_MAX: usize = 100;

/// What is to be said of the functions of a file.
pub(crate) fn findings(file: &Path, text: &str) -> Vec<String> {
    let is_test = file.components().any(|part| part.as_os_str() == "tests")
        || file
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"));
    if is_test {
        return Vec::new();
    }
    let long = too_long(text);
    let told = long.iter().map(|(name, lines)| {
        format!(
            "{}: {name} has {lines} lines, more than {LINES_MAX}; give its steps names",
            file.display()
        )
    });
    told.collect()
}

/// Names and lengths of the functions of a formatted source that are longer than passes.
fn too_long(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let ends =
            |line: &&str| **line == closing || line.ends_with(';') && line.starts_with(&format!("{indent})"));
        let length = match line.ends_with(['}', ';']) {
            true => 1,
            false => lines[at..].iter().position(ends).map_or(1, |end| end + 1),
        };
        if length > LINES_MAX {
            found.push((name.to_owned(), length));
        }
    }
    found
}

/// The name of the function whose first line this is.
fn function(line: &str) -> Option<&str> {
    let (before, behind) = line.split_once("fn ")?;
    let is_head = before.split_whitespace().all(|word| {
        matches!(
            word,
            "const" | "async" | "unsafe" | "extern" | "default" | "\"C\""
        ) || word.starts_with("pub")
    });
    let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    (is_head && end > 0).then(|| &behind[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_go_from_the_name_to_the_closing_brace() {
        let body = |lines: usize| "        x();\n".repeat(lines);
        let text = format!(
            "impl A {{\n    pub(crate) async fn long(\n        a: u8,\n    ) {{\n{}    }}\n    fn short() {{\n{}    }}\n    \
             fn declared(\n        a: u8,\n    );\n}}\n",
            body(LINES_MAX),
            body(LINES_MAX - 2)
        );
        assert_eq!(too_long(&text), [("long".to_owned(), LINES_MAX + 4)]);
    }
}
