//! Which message a request brings, and whether it is taken.

use std::fmt;

const MEDIA_TYPE: &str = "application/x-protobuf";
const SNAPPY: &str = "snappy";

/// A version's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// 1.0
    V1,
    /// 2.0
    V2,
}

/// Both, in the order in which they are listed.
const ALL: [Message; 2] = [Message::V1, Message::V2];

/// Why a request's headers do not lead to a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Another compression.
    #[error("{given} encoding (compression) is not accepted by this server; only {SNAPPY} is acceptable")]
    Encoding {
        /// What the header says.
        given: String,
    },
    /// Another media type.
    #[error("expected {MEDIA_TYPE} as the first (media) part, got {given} content-type")]
    MediaType {
        /// What the header says.
        given: String,
    },
    /// A parameter of the media type is none.
    #[error("expected parameters of the content type to be name=value, got {parameter} in {given}")]
    Parameter {
        /// The parameter.
        parameter: String,
        /// What the header says.
        given: String,
    },
    /// A message that does not exist.
    #[error("got {given} content type; unknown remote write protobuf message {name}, supported: {}, {}", ALL[0], ALL[1])]
    Unknown {
        /// Its name.
        name: String,
        /// What the header says.
        given: String,
    },
    /// A message that this server does not take.
    #[error("{message} protobuf message is not accepted by this server; only accepts {accepted}")]
    NotAccepted {
        /// Which.
        message: Message,
        /// Those that are taken.
        accepted: Accepted,
    },
}

impl Message {
    /// Its name in content types.
    pub fn name(self) -> &'static str {
        match self {
            Message::V1 => "prometheus.WriteRequest",
            Message::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The message of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|message| message.name() == name)
    }

    /// The message that a content type names; 1.0 where it names none.
    ///
    /// Compat: letter by letter, and a parameter with a blank in front of it is another one (remote-write:
    /// `v2/headers/content-type-space`).
    pub(super) fn of_content_type(given: &str) -> Result<Self, MessageError> {
        let given = given.trim();
        let mut parts = given.split(';');
        if !matches!(parts.next(), Some("" | MEDIA_TYPE)) || given.starts_with(';') {
            return Err(MessageError::MediaType { given: shown(given) });
        }
        let mut message = Message::V1;
        for parameter in parts {
            let mut words = parameter.split('=');
            let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else {
                return Err(MessageError::Parameter {
                    parameter: shown(parameter),
                    given: shown(given),
                });
            };
            if name == "proto" {
                message = Message::of_name(value).ok_or_else(|| MessageError::Unknown {
                    name: shown(value),
                    given: shown(given),
                })?;
                break;
            }
        }
        Ok(message)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The messages that a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// 1.0
    pub v1: bool,
    /// 2.0
    pub v2: bool,
}

impl Default for Accepted {
    fn default() -> Self {
        Accepted { v1: true, v2: true }
    }
}

impl Accepted {
    /// Those of a list of names with commas; `None` where it names something else.
    pub fn of_names(list: &str) -> Option<Self> {
        let mut accepted = Accepted { v1: false, v2: false };
        for name in list.split(',') {
            match Message::of_name(name)? {
                Message::V1 => accepted.v1 = true,
                Message::V2 => accepted.v2 = true,
            }
        }
        Some(accepted)
    }

    fn has(self, message: Message) -> bool {
        match message {
            Message::V1 => self.v1,
            Message::V2 => self.v2,
        }
    }

    pub(super) fn check(self, message: Message) -> Result<(), MessageError> {
        match self.has(message) {
            true => Ok(()),
            false => Err(MessageError::NotAccepted {
                message,
                accepted: self,
            }),
        }
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.into_iter().filter(|message| self.has(*message));
        let names: Vec<&str> = names.map(Message::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Nothing said means snappy. Compat: letter by letter (remote-write: `v1/headers/encoding-upper-case`).
pub(super) fn check_encoding(given: &str) -> Result<(), MessageError> {
    match given {
        "" | SNAPPY => Ok(()),
        _ => Err(MessageError::Encoding { given: shown(given) }),
    }
}

/// The beginning of what a client says.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars().take(CHARS_MAX).collect()
}
