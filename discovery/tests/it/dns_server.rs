//! The name server of the recordings, over UDP and TCP at one port.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// Ends with it.
pub(crate) struct DnsServer {
    pub(crate) port: u16,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl DnsServer {
    pub(crate) async fn start(exchanges: Vec<Value>, phase: watch::Receiver<u64>) -> DnsServer {
        let exchanges = Arc::new(exchanges);
        // The same port of both kinds: another program may have one of them.
        let (udp, tcp, address) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("port");
            let address: SocketAddr = tcp.local_addr().expect("address");
            if let Ok(udp) = UdpSocket::bind(address).await {
                break (udp, tcp, address);
            }
        };
        let (for_udp, udp_phase) = (exchanges.clone(), phase.clone());
        let tasks = vec![
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                    let now = *udp_phase.borrow();
                    if let Some(answer) = answer(&for_udp, now, "udp", &buffer[..length]) {
                        let _ = udp.send_to(&answer, from).await;
                    }
                }
            }),
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    let length = stream.read_u16().await.expect("length");
                    let mut query = vec![0; usize::from(length)];
                    stream.read_exact(&mut query).await.expect("query");
                    let now = *phase.borrow();
                    if let Some(answer) = answer(&exchanges, now, "tcp", &query) {
                        let length = u16::try_from(answer.len()).expect("short");
                        stream.write_u16(length).await.expect("length");
                        stream.write_all(&answer).await.expect("answer");
                    }
                }
            }),
        ];
        DnsServer {
            port: address.port(),
            tasks,
        }
    }
}

fn answer(exchanges: &[Value], phase: u64, transport: &str, query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).expect("query");
    let question = query.queries.first().expect("question");
    assert_eq!(query.edns.is_some(), transport == "udp", "EDNS over UDP only");
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_query(question.clone());
    let found = exchanges.iter().find(|exchange| {
        let dns = &exchange["dns"];
        let holds = exchange["phases"].as_array().is_none_or(|span| {
            phase >= span[0].as_u64().unwrap_or(0) && span[1].as_u64().is_none_or(|last| phase <= last)
        });
        holds
            && dns["name"] == question.name().to_ascii()
            && dns["type"] == question.query_type().to_string()
            && dns["transport"].as_str().is_none_or(|wanted| wanted == transport)
    });
    let Some(response) = found.map(|exchange| &exchange["response"]) else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return Some(answer.to_vec().expect("answer"));
    };
    if response["drop"] == true {
        return None;
    }
    answer.metadata.truncation = response["truncated"] == true;
    answer.metadata.response_code = match response["rcode"].as_str() {
        None => ResponseCode::NoError,
        Some("SERVFAIL") => ResponseCode::ServFail,
        Some("REFUSED") => ResponseCode::Refused,
        Some("NXDOMAIN") => ResponseCode::NXDomain,
        Some(other) => panic!("no code {other}"),
    };
    for record in response["answers"].as_array().into_iter().flatten() {
        let owner = record["name"].as_str().map_or(question.name().clone(), name);
        answer.add_answer(Record::from_rdata(owner, 60, data(record)));
    }
    Some(answer.to_vec().expect("answer"))
}

fn name(text: &str) -> Name {
    Name::from_str(text).expect("name")
}

fn data(record: &Value) -> RData {
    let data = &record["data"];
    let text = data.as_str().unwrap_or("");
    let number = |key: &str| u16::try_from(data[key].as_u64().expect("number")).expect("number");
    let target = |key: &str| name(data[key].as_str().expect("name"));
    match record["type"].as_str().expect("type") {
        "A" => RData::A(A(text.parse().expect("address"))),
        "AAAA" => RData::AAAA(AAAA(text.parse().expect("address"))),
        "CNAME" => RData::CNAME(CNAME(name(text))),
        "NS" => RData::NS(NS(name(text))),
        "TXT" => RData::TXT(TXT::new(vec![text.to_owned()])),
        "MX" => RData::MX(MX::new(number("preference"), target("exchange"))),
        "SRV" => RData::SRV(SRV::new(
            number("priority"),
            number("weight"),
            number("port"),
            target("target"),
        )),
        other => panic!("no type {other}"),
    }
}
