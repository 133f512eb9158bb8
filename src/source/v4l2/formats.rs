//! Selects the format, size and frame interval to ask a camera for, from those that it lists. Pure:
//! opens no device.

use crate::media::frame::{FORMATS, PixelFormat};

/// A V4L2 pixel format code: four characters, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FourCc(pub u32);

impl FourCc {
    #[cfg(test)]
    pub const fn new(name: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*name))
    }

    /// The format that it stands for; `None` where stampcast does not read it.
    pub fn pixel_format(self) -> Option<PixelFormat> {
        PixelFormat::from_fourcc(self.0.to_le_bytes())
    }
}

impl std::fmt::Display for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bit 31 marks big-endian variants and is not part of the character.
        for byte in (self.0 & 0x7fff_ffff).to_le_bytes() {
            let c = if byte.is_ascii_graphic() || byte == b' ' {
                byte as char
            } else {
                '?'
            };
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// Seconds per frame as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub numerator: u32,
    pub denominator: u32,
}

impl Interval {
    /// `None` where either is 0.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator > 0 && denominator > 0).then_some(Self {
            numerator,
            denominator,
        })
    }

    /// The nearest fraction with the numerator 1 or 1000.
    pub fn from_fps(fps: f64) -> Self {
        let fps = fps.clamp(0.001, 1000.0);
        if fps.fract() == 0.0 {
            Self {
                numerator: 1,
                denominator: fps as u32,
            }
        } else {
            Self {
                numerator: 1000,
                denominator: (fps * 1000.0).round() as u32,
            }
        }
    }

    pub fn fps(self) -> f64 {
        f64::from(self.denominator) / f64::from(self.numerator)
    }
}

/// The frame sizes of a format, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Discrete {
        width: u32,
        height: u32,
    },
    /// From minimum to maximum in steps (1 for "continuous" ones).
    Range {
        width: Span,
        height: Span,
    },
}

/// `min`, `min + step`, … up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub min: u32,
    pub max: u32,
    pub step: u32,
}

impl Span {
    /// The largest member that is not above `wanted`, else `min`.
    fn fit(self, wanted: u32) -> u32 {
        let wanted = wanted.clamp(self.min, self.max.max(self.min));
        wanted - (wanted - self.min) % self.step.max(1)
    }
}

impl Sizes {
    /// The size that comes nearest to the wanted one.
    pub fn fit(self, wanted: (u32, u32)) -> (u32, u32) {
        match self {
            Self::Discrete { width, height } => (width, height),
            Self::Range { width, height } => (width.fit(wanted.0), height.fit(wanted.1)),
        }
    }
}

/// The frame intervals of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intervals {
    Discrete(Interval),
    Range {
        shortest: Interval,
        longest: Interval,
    },
}

/// A format that a device lists, at one size or range of sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FormatDesc {
    pub code: FourCc,
    pub sizes: Sizes,
    /// Empty where the driver lists none. For a range of sizes: those at the size nearest to the
    /// requested one.
    pub intervals: Vec<Intervals>,
}

/// What the options ask of the camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CaptureRequest {
    /// Pixels, before scaling and rotation.
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    /// A JPEG of exactly this size can be passed on as the camera made it.
    pub passes_jpeg_through: bool,
}

/// What to ask the driver for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SelectedFormat {
    pub code: FourCc,
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub interval: Interval,
}

/// Selects the format that comes nearest to the request, in this order of criteria:
///
/// 1. size: the requested one; else the smallest that covers it (up to four times its area); else
///    the largest below;
/// 2. colour before grey;
/// 3. the requested fps is reached (frames above it are dropped by the worker);
/// 4. cost: JPEG that is passed through, then by [`FormatInfo`](crate::media::frame::FormatInfo);
/// 5. the fewest frames above the requested fps.
///
/// So YUYV at 1280x720, which USB 2 carries at 10 fps, loses to MJPG when 30 fps are requested, and
/// wins when 5 are. Of equals the first is taken. `None` where stampcast reads none of the formats.
pub(crate) fn select(formats: &[FormatDesc], request: &CaptureRequest) -> Option<SelectedFormat> {
    let mut best: Option<(Rank, SelectedFormat)> = None;
    for desc in formats {
        let Some(format) = desc.code.pixel_format() else {
            continue;
        };
        let (width, height) = desc.sizes.fit((request.width, request.height));
        if width == 0 || height == 0 {
            continue;
        }
        let selected = SelectedFormat {
            code: desc.code,
            format,
            width,
            height,
            interval: nearest_interval(&desc.intervals, request.fps),
        };
        let rank = Rank::new(&selected, request);
        if best.as_ref().is_none_or(|(b, _)| rank.is_better_than(b)) {
            best = Some((rank, selected));
        }
    }
    best.map(|(_, selected)| selected)
}

/// The formats that stampcast reads, for a message: "YUYV, NV12".
pub(crate) fn readable() -> String {
    let codes: Vec<_> = FORMATS
        .iter()
        .map(|info| FourCc(u32::from_le_bytes(*info.fourccs[0])).to_string())
        .collect();
    codes.join(", ")
}

/// How near a format comes to the request. Compared field by field; lower is better.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Rank {
    size: (u8, u64),
    is_grey: bool,
    fps_short: f64,
    cost: u8,
    fps_above: f64,
}

impl Rank {
    fn new(selected: &SelectedFormat, request: &CaptureRequest) -> Self {
        let info = selected.format.info();
        let fps = selected.interval.fps();
        let size = (selected.width, selected.height);
        let requested = (request.width, request.height);
        let passed_through = selected.format == PixelFormat::Mjpeg
            && request.passes_jpeg_through
            && size == requested;
        Self {
            size: size_rank(size, requested),
            is_grey: !info.is_colour,
            fps_short: if reaches(fps, request.fps) {
                0.0
            } else {
                request.fps - fps
            },
            cost: if passed_through { 0 } else { info.cost },
            fps_above: (fps - request.fps).max(0.0),
        }
    }

    fn is_better_than(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(std::cmp::Ordering::Less)
    }
}

fn size_rank(size: (u32, u32), wanted: (u32, u32)) -> (u8, u64) {
    let area = |(w, h): (u32, u32)| u64::from(w) * u64::from(h);
    if size == wanted {
        (0, 0)
    } else if size.0 >= wanted.0 && size.1 >= wanted.1 {
        // A frame far larger than requested costs more than one that is a little too small.
        (
            if area(size) <= 4 * area(wanted) { 1 } else { 3 },
            area(size),
        )
    } else {
        (2, u64::MAX - area(size))
    }
}

/// 29.97 fps is as good as the 30 that a user asks for.
fn reaches(fps: f64, wanted: f64) -> bool {
    fps >= wanted * 0.99
}

/// The longest interval that reaches the wanted fps, else the shortest.
fn nearest_interval(intervals: &[Intervals], wanted_fps: f64) -> Interval {
    let asked = Interval::from_fps(wanted_fps);
    intervals
        .iter()
        .map(|i| match *i {
            Intervals::Discrete(interval) => interval,
            Intervals::Range { shortest, longest } => {
                if wanted_fps > shortest.fps() {
                    shortest
                } else if wanted_fps < longest.fps() {
                    longest
                } else {
                    asked
                }
            }
        })
        .min_by(|a, b| {
            let key = |i: &Interval| {
                if reaches(i.fps(), wanted_fps) {
                    (0, i.fps())
                } else {
                    (1, -i.fps())
                }
            };
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })
        .unwrap_or(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(code: &[u8; 4], width: u32, height: u32, fps: &[u32]) -> FormatDesc {
        let intervals = fps
            .iter()
            .map(|f| {
                Intervals::Discrete(Interval {
                    numerator: 1,
                    denominator: *f,
                })
            })
            .collect();
        FormatDesc {
            code: FourCc::new(code),
            sizes: Sizes::Discrete { width, height },
            intervals,
        }
    }

    /// A common USB 2 webcam.
    fn webcam() -> Vec<FormatDesc> {
        vec![
            at(b"YUYV", 640, 480, &[30, 15]),
            at(b"YUYV", 1280, 720, &[10, 5]),
            at(b"YUYV", 1920, 1080, &[5]),
            at(b"MJPG", 640, 480, &[30, 15]),
            at(b"MJPG", 1280, 720, &[30, 15]),
            at(b"MJPG", 1920, 1080, &[30, 15]),
            at(b"H264", 1920, 1080, &[30]),
        ]
    }

    fn request(width: u32, height: u32, fps: f64, passes_jpeg_through: bool) -> CaptureRequest {
        CaptureRequest {
            width,
            height,
            fps,
            passes_jpeg_through,
        }
    }

    fn selected(formats: &[FormatDesc], request: CaptureRequest) -> String {
        match select(formats, &request) {
            Some(c) => format!(
                "{} {}x{} {:.2}",
                c.code,
                c.width,
                c.height,
                c.interval.fps()
            ),
            None => "none".into(),
        }
    }

    #[test]
    fn select_webcam_takes_cheapest_format_that_fulfils_the_request() {
        let mut formats = webcam();
        formats.push(at(b"GREY", 640, 480, &[60]));
        formats.push(at(b"NV12", 320, 240, &[30]));
        formats.push(at(b"YU12", 320, 240, &[30]));
        formats.push(at(b"YUYV", 320, 240, &[30]));
        for (request, expected) in [
            // A JPEG that is passed through is cheapest; otherwise raw, as long as it is fast
            // enough.
            (request(640, 480, 15.0, true), "MJPG 640x480 15.00"),
            (request(640, 480, 15.0, false), "YUYV 640x480 15.00"),
            (request(640, 480, 20.0, false), "YUYV 640x480 30.00"),
            (request(1280, 720, 30.0, false), "MJPG 1280x720 30.00"),
            (request(1280, 720, 5.0, false), "YUYV 1280x720 5.00"),
            (request(1280, 720, 8.0, false), "YUYV 1280x720 10.00"),
            (request(1920, 1080, 15.0, false), "MJPG 1920x1080 15.00"),
            // Grey is faster but has no colour; nothing reaches 50, so what comes nearest.
            (request(640, 480, 50.0, false), "YUYV 640x480 30.00"),
            (request(640, 480, 29.97, false), "YUYV 640x480 30.00"),
            (request(320, 240, 30.0, false), "YU12 320x240 30.00"),
            // The JPEG would have to be scaled: the next larger size, raw.
            (request(600, 400, 15.0, true), "YUYV 640x480 15.00"),
            // Larger than everything: the largest.
            (request(4096, 2160, 15.0, true), "MJPG 1920x1080 15.00"),
            (request(16, 16, 15.0, false), "YU12 320x240 30.00"),
        ] {
            assert_eq!(selected(&formats, request), expected, "{request:?}");
        }
    }

    #[test]
    fn select_uyvy_ranks_as_yuyv_does() {
        let uyvy = at(b"UYVY", 640, 480, &[30]);
        let yuyv = at(b"YUYV", 640, 480, &[30]);
        let cheaper = at(b"NV12", 640, 480, &[30]);
        let compressed = at(b"MJPG", 640, 480, &[30]);
        let request = request(640, 480, 15.0, false);
        for (formats, expected) in [
            (vec![uyvy.clone()], "UYVY 640x480 30.00"),
            (vec![compressed, uyvy.clone()], "UYVY 640x480 30.00"),
            (vec![uyvy.clone(), cheaper], "NV12 640x480 30.00"),
            // Of equals the one that the driver lists first.
            (vec![uyvy.clone(), yuyv.clone()], "UYVY 640x480 30.00"),
            (vec![yuyv, uyvy], "YUYV 640x480 30.00"),
        ] {
            assert_eq!(selected(&formats, request), expected, "{formats:?}");
        }
    }

    #[test]
    fn select_only_grey_takes_grey() {
        assert_eq!(
            selected(
                &[at(b"GREY", 640, 480, &[60])],
                request(640, 480, 15.0, true)
            ),
            "GREY 640x480 60.00"
        );
        assert_eq!(
            selected(
                &[at(b"H264", 640, 480, &[60])],
                request(640, 480, 15.0, true)
            ),
            "none"
        );
        assert_eq!(selected(&[], request(640, 480, 15.0, true)), "none");
    }

    #[test]
    fn select_ranges_fits_size_and_interval() {
        let span = |min, max, step| Span { min, max, step };
        let sizes = Sizes::Range {
            width: span(48, 1920, 16),
            height: span(32, 1080, 8),
        };
        let range = Intervals::Range {
            shortest: Interval {
                numerator: 1,
                denominator: 60,
            },
            longest: Interval {
                numerator: 1,
                denominator: 2,
            },
        };
        let formats = [FormatDesc {
            code: FourCc::new(b"NV12"),
            sizes,
            intervals: vec![range],
        }];
        for (request, expected) in [
            (request(640, 480, 15.0, false), "NV12 640x480 15.00"),
            (request(650, 487, 12.5, false), "NV12 640x480 12.50"),
            (request(8, 8, 90.0, false), "NV12 48x32 60.00"),
            (request(9999, 9999, 1.0, false), "NV12 1920x1080 2.00"),
        ] {
            assert_eq!(selected(&formats, request), expected, "{request:?}");
        }
    }

    #[test]
    fn select_no_intervals_listed_asks_for_the_requested_one() {
        let formats = [at(b"YUYV", 640, 480, &[])];
        assert_eq!(
            selected(&formats, request(640, 480, 12.5, false)),
            "YUYV 640x480 12.50"
        );
    }

    #[test]
    fn select_invalid_ranges_does_not_panic() {
        let span = Span {
            min: 100,
            max: 10,
            step: 0,
        };
        let sizes = Sizes::Range {
            width: span,
            height: Span {
                min: 0,
                max: 0,
                step: 0,
            },
        };
        let formats = [FormatDesc {
            code: FourCc::new(b"NV12"),
            sizes,
            intervals: vec![],
        }];
        assert_eq!(selected(&formats, request(640, 480, 15.0, false)), "none");
        assert_eq!(Interval::new(0, 30), None);
        assert!(Interval::from_fps(0.0).fps() > 0.0);
        assert_eq!(FourCc(0xffff_ffff).to_string(), "????");
    }
}
