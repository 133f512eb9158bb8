//! What a viewer may ask for in the query of `/stream`. An unknown name, a name given twice or a bad value is an error with
//! one clear line; nothing is guessed.

/// The table of the wire: every field is what the query said, `None` where it said nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub video: Option<bool>,
    pub audio: Option<bool>,
    pub format: Format,
    pub delivery: Delivery,
    /// Frames per second, > 0: thinned evenly by stamp. What is thinned is not a gap.
    pub max_fps: Option<f64>,
    /// 1 to 100: at most so many video frames on their way; the viewer answers each with `ack`.
    pub window: Option<u32>,
    pub events: bool,
    /// Samples per second, 8,000 to 48,000.
    pub audio_rate: Option<u32>,
    /// 1 or 2.
    pub audio_channels: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The newest frame and at most half a second of sound, never a backlog.
    #[default]
    Live,
    /// A backlog of at most the queue's size, then a gap.
    All,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error(
        "unknown parameter \"{0}\"; known: video, audio, format, delivery, max_fps, window, events, audio_rate, audio_channels, token"
    )]
    Unknown(String),
    #[error("parameter \"{0}\" is given twice")]
    Twice(String),
    #[error("{name} must be {wanted}, not \"{value}\"")]
    Bad {
        name: &'static str,
        wanted: &'static str,
        value: String,
    },
}

impl Query {
    /// Reads name and value pairs, already percent-decoded.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, QueryError> {
        let mut query = Self::default();
        let mut seen = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if seen.iter().any(|s| s == name) {
                return Err(QueryError::Twice(shown(name)));
            }
            query.set(name, value)?;
            seen.push(name.to_owned());
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        match name {
            "video" => self.video = Some(flag("video", value)?),
            "audio" => self.audio = Some(flag("audio", value)?),
            "events" => self.events = flag("events", value)?,
            "format" => {
                self.format = match value {
                    "text" => Format::Text,
                    "binary" => Format::Binary,
                    _ => return Err(bad("format", "text or binary", value)),
                }
            }
            "delivery" => {
                self.delivery = match value {
                    "live" => Delivery::Live,
                    "all" => Delivery::All,
                    _ => return Err(bad("delivery", "live or all", value)),
                }
            }
            "max_fps" => {
                let fps = value
                    .parse()
                    .ok()
                    .filter(|f: &f64| f.is_finite() && *f > 0.0);
                self.max_fps = Some(fps.ok_or_else(|| bad("max_fps", "a number above 0", value))?);
            }
            "window" => self.window = Some(number("window", "1 to 100", value, 1, 100)?),
            "audio_rate" => {
                self.audio_rate =
                    Some(number("audio_rate", "8000 to 48000", value, 8_000, 48_000)?);
            }
            "audio_channels" => {
                self.audio_channels = Some(number("audio_channels", "1 or 2", value, 1, 2)? as u16);
            }
            // Judged before the query is read (http::access), and kept nowhere.
            "token" => {}
            _ => return Err(QueryError::Unknown(shown(name))),
        }
        Ok(())
    }
}

fn flag(name: &'static str, value: &str) -> Result<bool, QueryError> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(bad(name, "0 or 1", value)),
    }
}

fn number(
    name: &'static str,
    wanted: &'static str,
    value: &str,
    least: u32,
    most: u32,
) -> Result<u32, QueryError> {
    value
        .parse()
        .ok()
        .filter(|n| (least..=most).contains(n) && value.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| bad(name, wanted, value))
}

fn bad(name: &'static str, wanted: &'static str, value: &str) -> QueryError {
    QueryError::Bad {
        name,
        wanted,
        value: shown(value),
    }
}

/// What the client wrote, fit for one line of an answer.
fn shown(text: &str) -> String {
    text.chars()
        .take(40)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
