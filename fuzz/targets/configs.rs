//! Files that users write; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use notify::matcher::Syntax;

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match kind % 3 {
        0 => {
            if let Err(errors) =
                rules::format::read("rules.yml", text, &rules::format::FormatOptions::default())
            {
                assert!(!errors.is_empty());
                errors.iter().for_each(|error| drop(error.to_string()));
            }
        }
        1 => match notify::config::Config::parse("alertmanager.yml", text, Syntax::default()) {
            Ok(config) => drop(config.to_yaml()),
            Err(error) => drop(error.to_string()),
        },
        _ => {
            let read = yaml::parse("prometheus.yml", text).and_then(|document| {
                let mut section = document.root().section("prometheus.yml")?;
                scraper::ScrapeConfig::read_list(&mut section, &scraper::ScrapeDefaults::default())
            });
            if let Err(error) = read {
                drop(error.to_string());
            }
        }
    }
});
