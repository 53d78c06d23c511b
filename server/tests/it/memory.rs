//! What queries are promised to take, seen from outside: the resident size of the real program.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{PATIENCE, Server, http_client, narthex};

const MIB: u64 = 1 << 20;
const SERIES: usize = 3_000;
/// What all queries may take together.
const ALL_QUERIES_BYTES: u64 = 128 * MIB;
/// What comes on top that is no buffer of a query: stacks of threads, code that is touched first, what the allocator has
/// not given back within its second.
const BESIDE_BYTES: u64 = 96 * MIB;

/// A line of the process's status, in bytes.
fn status_bytes(server: &Server, key: &str) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let text = std::fs::read_to_string(path).expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib: u64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .expect("a number");
    kib * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn queries_take_no_more_than_is_promised() {
    let folder = tempfile::tempdir().expect("folder");
    let end = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let mut text = "# TYPE big gauge\n".to_owned();
    for i in 0..SERIES {
        writeln!(text, "big{{i=\"{i}\",job=\"attack\"}} {i} {}", end - 10).expect("text");
    }
    text.push_str("# EOF\n");
    std::fs::write(folder.path().join("big.txt"), text).expect("written");
    let imported = narthex(
        &["tsdb", "create-blocks-from", "openmetrics", "big.txt", "data"],
        folder.path(),
        b"",
    );
    assert!(imported.status.success(), "{imported:?}");
    let limits = ["--query.max-memory=64MB", "--query.max-total-memory=128MB"];
    let server = Server::start(folder.path(), "{}", &limits).await;
    assert_eq!(server.query("count(big)").await.len(), 1, "{}", server.log());
    let before = status_bytes(&server, "VmRSS:");
    // From now on the peak is what comes.
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("a reset");
    let mut refused = 0;
    for query in ["last_over_time(big[1d]) * 2", "sum(big)", "sort(big or big * 2)"] {
        // 264 MB, were they all held.
        let url = format!(
            "{}/api/v1/query_range?query={}&start={}&end={}&step=1",
            server.url,
            url::form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>(),
            end - 10,
            end + 10_980,
        );
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..6 {
            asked.spawn(http_client().get(&url).send());
        }
        while let Some(answer) = asked.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            match answer.status().as_u16() {
                200 => drop(answer.bytes().await.expect("a body")),
                422 => refused += 1,
                other => panic!("{query}: {other}"),
            }
        }
    }
    let peak = status_bytes(&server, "VmHWM:");
    println!(
        "{} MiB before, {} MiB at most, {refused} refused",
        before / MIB,
        peak / MIB
    );
    assert!(refused >= 6, "{refused}");
    assert!(
        peak <= before + ALL_QUERIES_BYTES + BESIDE_BYTES,
        "{} MiB, then {} MiB",
        before / MIB,
        peak / MIB
    );
    // And it goes back.
    let begin = Instant::now();
    while status_bytes(&server, "VmRSS:") > before + ALL_QUERIES_BYTES / 2 {
        assert!(
            begin.elapsed() < PATIENCE,
            "{}",
            status_bytes(&server, "VmRSS:") / MIB
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn searches_take_of_the_memory_of_queries() {
    let folder = tempfile::tempdir().expect("folder");
    let mut text = "# TYPE big gauge\n".to_owned();
    let end = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let long = "x".repeat(1_000);
    for i in 0..SERIES {
        writeln!(text, "big{{i=\"{i}-{long}\"}} 1 {}", end - 10).expect("text");
    }
    text.push_str("# EOF\n");
    std::fs::write(folder.path().join("big.txt"), text).expect("written");
    let imported = narthex(
        &["tsdb", "create-blocks-from", "openmetrics", "big.txt", "data"],
        folder.path(),
        b"",
    );
    assert!(imported.status.success(), "{imported:?}");
    let server = Server::start(folder.path(), "{}", &["--query.max-memory=2MB"]).await;
    for path in ["series?match[]=big&match[]=big{i=~\".%2B\"}", "label/i/values"] {
        let (status, body) = server.get(&format!("/api/v1/{path}")).await;
        let shown: String = body.chars().take(300).collect();
        // A search that is over at once is not counted.
        if !(path.starts_with("label") && status == 200) {
            assert_eq!(status, 422, "{path}: {shown}");
            assert!(body.contains("--query.max-memory allows"), "{path}: {shown}");
        }
    }
    let (status, _) = server.get("/api/v1/series?match[]=big{i=~\"1.*\"}&limit=5").await;
    assert_eq!(status, 200);
}
