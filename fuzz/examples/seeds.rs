//! Writes the committed seed corpus: `cargo run --example seeds`, in the folder of this crate.

use std::fs;
use std::path::Path;

use files::{Files, MemFiles};
use model::columns::Columns;
use model::protobuf::Message;
use narthex_fuzz::{fill, float_rows, histogram_rows, open, sample_block, sample_store};
use tsdb::block::Tombstones;
use tsdb::chunk::{self, EncodeOptions, Encoding};
use tsdb::wal::SegmentReader;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(root.join(target)).and_then(|()| fs::write(root.join(target).join(name), bytes))
    };
    for (name, encoding, columns) in columns() {
        let chunk = &chunk::encode(&columns, &EncodeOptions::keep(encoding))[0];
        put("chunks", name, &[&[encoding as u8, 9], &chunk.bytes[..]].concat())?;
    }
    let block = sample_block();
    put("index", "block", &block.index)?;
    put(
        "segments",
        "block",
        &block.segment[..block.segment.len().min(2000)],
    )?;
    put("meta", "head.json", &block.meta)?;
    put("meta", "merged.json", MERGED.as_bytes())?;
    let mut tombstones = Tombstones::default();
    for series in 1..5 {
        tombstones.add(series, 10, 20 * series as i64);
        tombstones.add(series, 1000, 2000);
    }
    put("tombstones", "four", &tombstones.to_bytes())?;
    logs(&put)?;
    put(
        "snapshot",
        "closed",
        &sample_store().read(Path::new("data/head_snapshot"))?,
    )?;
    for (i, query) in QUERIES.iter().enumerate() {
        put("promql", &format!("{i:02}"), format!("\u{f}{query}").as_bytes())?;
    }
    for (i, series) in SERIES.iter().enumerate() {
        put("series_notation", &format!("{i:02}"), series.as_bytes())?;
    }
    put("exposition", "text", &[b"\0", TEXT.as_bytes()].concat())?;
    put("exposition", "converted", &[b"\x81", TEXT.as_bytes()].concat())?;
    put(
        "exposition",
        "openmetrics",
        &[b"\x10", OPENMETRICS.as_bytes()].concat(),
    )?;
    put("exposition", "protobuf", &[b"\x02", PROTOBUF].concat())?;
    put("remote_write", "v1", &[&[0x0e][..], &written(false)].concat())?;
    put("remote_write", "v2", &[&[0x0f][..], &written(true)].concat())?;
    put("import", "json", &[&[40], JSON_LINES.as_bytes()].concat())?;
    put("import", "text", &[&[41], TEXT.as_bytes()].concat())?;
    // The same switches as below, and protocol buffers.
    put("otlp", "protobuf", &[&[0b0010_0100][..], &otlp()].concat())?;
    for (name, json) in OTLP {
        // Deltas added up, and promoted.
        put("otlp", name, &[&[0b0010_0101], json.as_bytes()].concat())?;
    }
    Ok(())
}

/// Lines that are imported, of all ages.
const JSON_LINES: &str = "{\"metric\":{\"__name__\":\"up\",\"job\":\"a\\\"\\u00e9\"},\"values\":[1,-2.5e-3,null,\"NaN\",\
\"Infinity\"],\"timestamps\":[1735689600000,1735689500000,1735600000000,1735000000000,5]}\n\n{\"metric\":{\"__name__\":\"up\"},\
\"values\":[1],\"timestamps\":[1,2]}\n{\"values\":[],\"more\":{\"a\":[[]]},\"metric\":{\"a\":\"b\"},\"timestamps\":[]}\r\nwrong\n";

/// A request of OTLP with a sum and a histogram, as protocol buffers.
fn otlp() -> Vec<u8> {
    const TIME: u64 = 1_735_689_600_000_000_000;
    let fixed = |message: &mut Message, field: u64, bits: u64| {
        let tag = (field << 3 | 1) as u8;
        message.raw(&[&[tag][..], &bits.to_le_bytes()].concat());
    };
    let mut request = Message::default();
    request.message(1, |resource_metrics| {
        resource_metrics.message(2, |scope_metrics| {
            scope_metrics.message(2, |metric| {
                metric.text(1, "requests").text(3, "1").message(7, |sum| {
                    sum.message(1, |point| {
                        fixed(point, 2, TIME - 60_000_000_000);
                        fixed(point, 3, TIME);
                        fixed(point, 6, 5);
                        point.message(7, |attribute| {
                            attribute.text(1, "a.b").message(2, |value| {
                                value.text(1, "c");
                            });
                        });
                    });
                    sum.uint(2, 1).uint(3, 1);
                });
            });
            scope_metrics.message(2, |metric| {
                metric.text(1, "seconds").message(9, |histogram| {
                    histogram.message(1, |point| {
                        fixed(point, 3, TIME);
                        fixed(point, 4, 3);
                        point.always_double(5, 1.5);
                        [1, 2].iter().for_each(|count| fixed(point, 6, *count));
                        point.always_double(7, 0.5);
                    });
                    histogram.uint(2, 2);
                });
            });
        });
    });
    request.into_bytes()
}

/// Requests of OTLP as JSON.
const OTLP: [(&str, &str); 3] = [
    (
        "sum",
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}},{"key":"host.name","value":{"arrayValue":{"values":[{"intValue":"1"},{"kvlistValue":{"values":[{"key":"a","value":{"doubleValue":0.5}}]}}]}}}]},"scopeMetrics":[{"scope":{"name":"l","version":"1"},"metrics":[{"name":"http.requests","unit":"By/s","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"startTimeUnixNano":"1735689540000000000","timeUnixNano":"1735689600000000000","asInt":"5","attributes":[{"key":"a.b","value":{"boolValue":true}},{"key":"a_b","value":{"bytesValue":"AAE="}}],"exemplars":[{"timeUnixNano":"1735689599500000000","asDouble":0.05,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"}]}]}}]}]}]}"#,
    ),
    (
        "histograms",
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":1735689600000000000,"count":6,"sum":2.5,"bucketCounts":[2,3,0,1],"explicitBounds":[0.1,0.5,1]}]}},{"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"1735689600000000000","count":"7","sum":9.5,"scale":2,"zeroCount":"1","positive":{"offset":-3,"bucketCounts":["1","2","0","0","0","3"]}}]}}]}]}]}"#,
    ),
    (
        "others",
        r#"{"resource_metrics":[{"scope_metrics":[{"metrics":[{"name":"g","gauge":{"data_points":[{"as_double":"NaN","time_unix_nano":1,"flags":1}]}},{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"2","count":"1","sum":1,"quantileValues":[{"quantile":0.5,"value":1.5}]}]}}]}]}]}"#,
    ),
];

/// A request of remote write with one of everything.
fn written(second: bool) -> Vec<u8> {
    const TIME: u64 = 1_735_689_600_000;
    let label = |message: &mut Message, name: &str, value: &str| {
        message.message(1, |label| {
            label.text(1, name).text(2, value);
        });
    };
    let mut request = Message::default();
    for symbol in ["", "__name__", "m", "a", "1", "trace_id", "x"]
        .iter()
        .filter(|_| second)
    {
        request.bytes(4, symbol.as_bytes());
    }
    let (series_field, histograms, exemplars) = if second { (5, 3, 4) } else { (1, 4, 3) };
    request.message(series_field, |series| {
        match second {
            true => drop(series.uints(1, &[1, 2, 3, 4])),
            false => [("__name__", "m"), ("a", "1")]
                .iter()
                .for_each(|(n, v)| label(series, n, v)),
        }
        series.message(2, |sample| {
            sample.always_double(1, 1.5).uint(2, TIME).uint(3, TIME - 9);
        });
        series.message(histograms, |histogram| {
            histogram
                .uint(1, 3)
                .always_double(3, 2.0)
                .uint(4, 2)
                .uint(15, TIME + 1)
                .uint(17, TIME - 9);
            histogram.message(11, |span| {
                span.uint(2, 2);
            });
            histogram.uints(12, &[2, 2]);
        });
        series.message(exemplars, |exemplar| {
            match second {
                true => drop(exemplar.uints(1, &[5, 6])),
                false => label(exemplar, "trace_id", "x"),
            }
            exemplar.always_double(2, 0.5).uint(3, TIME);
        });
        if second {
            series.message(5, |metadata| {
                metadata.uint(1, 1).uint(3, 2).uint(4, 2);
            });
        }
    });
    request.into_bytes()
}

fn columns() -> [(&'static str, Encoding, Columns); 6] {
    [
        ("xor", Encoding::Xor, float_rows(false)),
        ("xor2", Encoding::Xor2, float_rows(true)),
        ("histogram", Encoding::Histogram, histogram_rows(false, false)),
        ("histogram_st", Encoding::HistogramSt, histogram_rows(false, true)),
        (
            "float_histogram",
            Encoding::FloatHistogram,
            histogram_rows(true, false),
        ),
        (
            "float_histogram_st",
            Encoding::FloatHistogramSt,
            histogram_rows(true, true),
        ),
    ]
}

/// What a store writes: its segments, its records, its chunk files.
fn logs(put: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> Result<(), Box<dyn std::error::Error>> {
    let files = MemFiles::new();
    let db = open(&files);
    fill(&db, 150);
    db.close()?;
    let log = files.read(Path::new("data/wal/00000000"))?;
    let late = files.read(Path::new("data/wbl/00000000"))?;
    let chunks = files.read(Path::new("data/chunks_head/000001"))?;
    put("wal_pages", "log", &log[..log.len().min(3000)])?;
    put("wal_pages", "late", &late[..late.len().min(2000)])?;
    let mut framed = Vec::new();
    let mut kinds = Vec::new();
    for bytes in [&log, &late] {
        let mut reader = SegmentReader::new(bytes);
        while let Ok(Some(record)) = reader.read() {
            if !kinds.contains(&record[0]) {
                kinds.push(record[0]);
                put("wal_records", &format!("kind{:02}", record[0]), record)?;
            }
            if framed.len() < 4000 {
                framed.extend_from_slice(&(record.len() as u16).to_le_bytes());
                framed.extend_from_slice(record);
            }
        }
    }
    put("head", "log", &[b"\0", &framed[..]].concat())?;
    put("head", "checkpoint", &[b"\x01", &framed[..]].concat())?;
    put("head", "raw", &[b"\x02", &log[..log.len().min(2000)]].concat())?;
    put("head", "chunks", &[b"\x03", &chunks[..]].concat())?;
    put("head", "late", &[b"\x04", &framed[..]].concat())?;
    Ok(())
}

const MERGED: &str = r#"{"ulid":"01HF7YAT00000000000000000B","minTime":0,"maxTime":1000000,
"stats":{"numSamples":10,"numSeries":2,"numChunks":3,"numTombstones":1},"compaction":{"level":2,
"sources":["01HF7YAT000000000000000007"],"parents":[{"ulid":"01HF7YAT000000000000000007","minTime":0,"maxTime":7}],
"deletable":true,"failed":true,"hints":["from-out-of-order"]},"version":1}"#;

const QUERIES: [&str; 24] = [
    r#"sum by (job, "a.b") (rate(x{job=~"a.+",i!="1"}[5m] offset 1m))"#,
    "topk without (a) (3, -x ^ 2 ^ y) > bool 1e3 and on () z unless ignoring (a) w",
    r#"{"utf8.name", a!~"b|c", __name__="x"} @ start() offset -1h30m"#,
    "a * on (x) group_left (y, z) b / ignoring () group_right c",
    "max_over_time(sum(x)[1h:1m] @ 1234.5 offset 5m)[2h:30s]",
    "histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
    "label_replace(x, 'a', `$1\\n`, \"b\\u00e9\", '(.*)') == 0x1F",
    "x[5m + step()] offset (1h - 2 * 30m) + max_over_time(y[min(1m, 2m)])",
    "x + fill(0) y - fill_left(1) fill_right(NaN) z",
    "x anchored + rate(y[5m] smoothed)",
    "count_values('v', -Inf % +5 atan2 .5) or absent(nonexistent) or vector(time())",
    "info(x, {job=\"a\"}) # a comment\n + limitk(1, x) + limit_ratio(-0.5, x)",
    "quantile(0.5, x) >= bool -1 != 2 <= 3 < 4",
    "(a) + (((b))) - - c",
    "1_000 + 0b1 + 1e-7 + Inf + NaN + 5m + 1d12h",
    r#""a string" "#,
    "sum(x) by (a) + avg without () (y) + group(z)",
    "x[5m:] @ end()",
    "sort_by_label(x, 'a', 'b') ",
    "start + offset + by + bool{on='1'}",
    "trim_upper(h, 1) + h </ 3 >/ 2",
    "predict_linear(x[1h], 3600) / scalar(y)",
    "day_of_month() == 5 or hour(x) > 1 and clamp(x, 0, 1)",
    "x{} offset 1y2w3d4h5m6s7ms",
];

const SERIES: [&str; 10] = [
    "x{a=\"b\"} 1 2 3",
    "x 1+2x3 _ _x5 stale 5-1x4 -1-1x2",
    "x NaN Inf -Inf 1e3x2",
    "{\"utf8.name\", a=\"b\"} 0x10",
    "h {{schema:1 sum:5.5 count:3 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 1] offset:-1}}x3",
    "h {{count:3 n_buckets:[1 2] n_offset:2 counter_reset_hint:gauge}}+{{count:1}}x4",
    "h {{schema:-53 custom_values:[1 2.5 10] buckets:[1 0 2 3]}}",
    "{} 1",
    "x",
    "x{a=\"\\u00e9\\n\"} 1 {{}} _",
];

const TEXT: &str = "# HELP up whether it is \\\\ up\\n\n# TYPE up gauge\nup{job=\"a\\\"b\"} 1 1700000000000\n\
# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.5\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 7.25\nh_count 4\n\
{\"utf8.name\",\"a b\"=\"c\"} 0x1p3\n# a comment\nsummary{quantile=\"0.5\"} NaN\n  spaced  {  a = \"b\" , }  +Inf  \n";

const OPENMETRICS: &str = "# TYPE c counter\n# UNIT c_seconds seconds\n# HELP c counts\nc_total{a=\"b\"} 5 1700000000.5 # \
{trace=\"1\"} 0.7 1700000000.1\nc_created{a=\"b\"} 1600000000\n# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {t=\"2\"} 0.5\n\
h_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n# TYPE i info\ni_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"a\"} 1\n# EOF\n";

/// A counter with an exemplar, and a native histogram.
const PROTOBUF: &[u8] = &[
    0x2e, 0x0a, 0x01, b'c', 0x12, 0x04, b'h', b'e', b'l', b'p', 0x18, 0x00, 0x22, 0x21, 0x0a, 0x06, 0x0a,
    0x01, b'a', 0x12, 0x01, b'b', 0x1a, 0x17, 0x09, 0, 0, 0, 0, 0, 0, 0x14, 0x40, 0x12, 0x0c, 0x0a, 0x03,
    0x0a, 0x01, b't', 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1d, 0x0a, 0x01, b'h', 0x18, 0x04, 0x22, 0x16,
    0x3a, 0x14, 0x08, 0x03, 0x11, 0, 0, 0, 0, 0, 0, 0x14, 0x40, 0x28, 0x02, 0x38, 0x01, 0x62, 0x02, 0x10,
    0x02, 0x6a, 0x02,
];
