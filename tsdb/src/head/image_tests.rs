//! Images of series: whole, cut and flipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::chunk::testing::Rng;
use crate::head::append::empty_histogram;
use crate::head::chunk_files::ChunkFiles;
use crate::head::open::ChunkRules;
use crate::head::pages::Pages;
use files::MemFiles;
use model::histogram::{FloatHistogram, Histogram};

fn files() -> ChunkFiles {
    let dir = std::path::Path::new("chunks_head");
    ChunkFiles::open(Arc::new(MemFiles::new()), dir, &BTreeMap::new(), |_| {})
        .unwrap()
        .0
}

fn rules(files: &ChunkFiles, start_timestamps: bool) -> ChunkRules<'_> {
    ChunkRules {
        files,
        range_ms: 7_200_000,
        samples: 120,
        floats: if start_timestamps {
            Encoding::Xor2
        } else {
            Encoding::Xor
        },
        start_timestamps,
    }
}

/// Appends `count` samples; whether floats or histograms depends on `kind`.
fn fill(series: &mut Series<'_>, files: &ChunkFiles, kind: usize, from_ms: i64, count: i64) {
    let mut rng = Rng::new(kind as u64);
    for i in 0..count {
        let t = from_ms + i * 15_000;
        let value = rng.below(1000) as f64;
        let added = match kind {
            0 | 1 => series.append_float(rules(files, kind == 1), None, 7, (t - 5, t, value)),
            _ => {
                let histogram = FloatHistogram {
                    count: value,
                    zero_count: value,
                    sum: i as f64,
                    ..empty_histogram(0.0)
                };
                let histogram = Histogram::Float(Arc::new(histogram));
                series.append_histogram(rules(files, kind == 3), None, 7, (t - 5, t, &histogram))
            }
        };
        assert!(added);
    }
}

#[test]
fn a_series_goes_on_from_its_image_as_if_nothing_had_happened() {
    let files = files();
    for kind in 0..4 {
        for count in [1, 29, 150, 300] {
            let pages = Pages::default();
            let (old, new) = (pages.get_or_create(0), pages.get_or_create(1));
            let mut image = Vec::new();
            {
                let mut old = old.lock();
                old.insert(7);
                fill(&mut old.get(7).unwrap(), &files, kind, 0, count);
                assert!(old.write_image(7, &mut image));
                assert!(!old.write_image(8, &mut image));
            }
            new.lock().insert_image(256 + 7, &image).unwrap();
            let mut images = [Vec::new(), Vec::new()];
            for (page, image) in [&old, &new].into_iter().zip(&mut images) {
                let mut page = page.lock();
                let mut series = page.get(7).unwrap();
                fill(&mut series, &files, kind, count * 15_000, 60);
                assert_eq!(series.last_ms(), (count + 59) * 15_000);
                // Files and offsets differ, because both series write chunks.
                write(&series, image);
            }
            let open = |page: &crate::head::pages::Page| {
                let mut page = page.lock();
                let series = page.get(7).unwrap();
                let ranges: Vec<_> = series.mapped().map(|c| (c.min_ms, c.max_ms)).collect();
                (ranges, series.open_chunk().map(|(e, b)| (e, b.to_vec())))
            };
            assert_eq!(open(&old), open(&new), "kind {kind}, {count} samples");
        }
    }
}

#[test]
fn late_samples_and_metadata_come_back() {
    let files = files();
    let pages = Pages::default();
    let (page, again) = (pages.get_or_create(0), pages.get_or_create(1));
    let mut page = page.lock();
    page.insert(7);
    let mut series = page.get(7).unwrap();
    fill(&mut series, &files, 0, 0, 3);
    let histogram = Histogram::Float(Arc::new(empty_histogram::<f64, f64>(0.0)));
    let values = [LateValue::Float(1.0), LateValue::Histogram(histogram)];
    for (i, value) in values.iter().cycle().take(6).enumerate() {
        let late = Late {
            start_ms: 0,
            timestamp_ms: i as i64 + 1,
            value: value.clone(),
        };
        let ooo = series.rest_mut().ooo.get_or_insert_default();
        ooo.insert(rules(&files, false), 7, 4, late);
    }
    series.rest_mut().metadata = Some(Box::new(model::sample::Metadata {
        help: "h".into(),
        ..Default::default()
    }));
    let mut image = Vec::new();
    write(&series, &mut image);
    let mut again = again.lock();
    again.insert_image(256 + 7, &image).unwrap();
    let parts = |s: &Series<'_>| {
        let rest = s.rest().unwrap();
        let ooo = rest.ooo.as_ref().unwrap();
        let open: Vec<_> = ooo
            .open
            .iter()
            .map(|l| (l.timestamp_ms, l.value.clone()))
            .collect();
        (open, ooo.mapped.clone(), rest.metadata.clone())
    };
    assert_eq!(parts(&series), parts(&again.get(7).unwrap()));
    for cut in 0..image.len() {
        let page = pages.get_or_create(2 + cut as u64);
        assert!(
            page.lock().insert_image(7, &image[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    for at in 0..image.len() {
        for bit in 0..8 {
            image[at] ^= 1 << bit;
            let _ = pages
                .get_or_create(1000 + at as u64)
                .lock()
                .insert_image(bit, &image);
            image[at] ^= 1 << bit;
        }
    }
}
