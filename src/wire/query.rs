//! The query of `/stream`. An unknown name, a repeated name or a bad value is an error of one line;
//! nothing is guessed.

/// A decoded query: `None` where it does not have the parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// `video=1`, `video=0`: whether to send video.
    pub video: Option<bool>,
    /// `audio=1`, `audio=0`: whether to send audio.
    pub audio: Option<bool>,
    /// `format=text`, `format=binary`.
    pub format: Format,
    /// `delivery=live`, `delivery=all`.
    pub delivery: Delivery,
    /// Frames per second, > 0: frames are left out evenly, by stamp. They are not reported as gaps.
    pub max_fps: Option<f64>,
    /// 1 to 100: at most this many video frames in flight; the viewer answers each with `ack`.
    pub window: Option<u32>,
    /// `events=1`: whether to send events.
    pub events: bool,
    /// Samples per second and channel, 8,000 to 48,000: audio is resampled to it.
    pub audio_rate: Option<u32>,
    /// 1 or 2: audio is mixed to it.
    pub audio_channels: Option<u16>,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// See [`text`](super::text).
    #[default]
    Text,
    /// See [`binary`](super::binary).
    Binary,
}

/// What a viewer gets that reads more slowly than packets are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The newest frame and at most half a second of audio, never a backlog.
    #[default]
    Live,
    /// Every packet, up to the size of its queue; then a gap.
    All,
}

/// Why a query is refused; each is one line without control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not a parameter of `/stream`.
    #[error(
        "unknown parameter \"{0}\"; known: video, audio, format, delivery, max_fps, window, events, audio_rate, audio_channels, token"
    )]
    Unknown(String),
    /// A repeated parameter.
    #[error("parameter \"{0}\" is given twice")]
    Twice(String),
    /// A value out of range or of another kind.
    #[error("{name} must be {wanted}, not \"{value}\"")]
    Bad {
        /// The parameter.
        name: &'static str,
        /// The values that it accepts.
        wanted: &'static str,
        /// The value given, at most 40 characters of it.
        value: String,
    },
}

impl Format {
    /// The word in the query.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

impl Query {
    /// Decodes pairs of name and value, already percent-decoded.
    ///
    /// # Errors
    /// The first pair that is unknown, repeated or malformed.
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
            // Checked before the query is decoded (http::access), and not kept.
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

/// The client's text, shortened and without control characters, for one line of an answer.
fn shown(text: &str) -> String {
    text.chars()
        .take(40)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
